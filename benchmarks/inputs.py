"""Features of one sample, where the data set itself would be large."""

PAPER = {"video": (10, 7, 7, 512), "audio": (10, 128), "text": (10, 768)}
