"""Probes on frozen codes: heads, sweeps over them, protocols, scores."""
