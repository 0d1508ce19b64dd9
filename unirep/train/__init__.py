"""Mesh, optimizer, state, step, loop and checkpoints."""
