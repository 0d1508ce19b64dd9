"""VALOR-32K: videos, their sound and a caption."""
