"""Collections of configurations, for `unirep.launch.sweep`."""
