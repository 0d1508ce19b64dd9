"""Configurations: plain `get_config` files."""
