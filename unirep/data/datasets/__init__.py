"""Sources made of files that others extracted."""
