"""Tasks on frozen codes."""
