"""AVE: clips of one event."""
