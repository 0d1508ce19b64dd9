"""Mesh and collectives: the only crossing between devices."""
