"""State dicts of files: read without running anything, and written."""
