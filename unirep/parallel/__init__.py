"""Devices and processes: mesh, collectives, cluster, preemption."""
