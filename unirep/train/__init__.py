"""The training step, its loop, and checkpoints."""
