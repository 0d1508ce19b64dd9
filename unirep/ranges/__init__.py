"""What keys a configuration has, and what their values may be."""
