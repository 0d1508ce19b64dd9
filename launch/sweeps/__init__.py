"""Collections of configurations, for `launch.sweep`."""
