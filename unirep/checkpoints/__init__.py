"""Checkpoints of runs: written, restored, and read by whoever finds them."""
