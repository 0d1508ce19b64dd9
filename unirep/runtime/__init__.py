"""Errors, atomic files, signals and processes."""
