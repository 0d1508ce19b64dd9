"""Sources that make their samples."""
