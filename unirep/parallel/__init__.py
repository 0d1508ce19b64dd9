"""The device mesh, collectives, and trees of arrays."""
