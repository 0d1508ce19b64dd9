"""Retrieval across modalities."""
