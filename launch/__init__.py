"""Launchers of runs on other machines, and of many runs."""
