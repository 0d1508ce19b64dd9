"""Clotho: sounds of five captions."""
