"""Raw media -> features."""
