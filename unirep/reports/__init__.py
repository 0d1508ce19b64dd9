"""Figures, galleries and tables of results."""
