"""Readers of files that nobody here has written."""
