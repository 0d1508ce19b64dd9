"""What frozen codes are good for."""
