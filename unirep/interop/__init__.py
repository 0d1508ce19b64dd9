"""Formats of other people's programs."""
