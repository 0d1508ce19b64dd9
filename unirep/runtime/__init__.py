"""Errors, whole files, signals, and the processes of a run."""
