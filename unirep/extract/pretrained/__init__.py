"""Extractors with weights."""
