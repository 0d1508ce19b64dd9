"""Readers of files from anywhere, which may be broken or hostile."""
