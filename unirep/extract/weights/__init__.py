"""Weights of others: found, checked and read; nothing in them is run."""
