"""Shapes of one sample of the paper's features."""

PAPER = {"video": (10, 7, 7, 512), "audio": (10, 128), "text": (10, 768)}
