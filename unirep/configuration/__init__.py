"""Configurations: keys, types, and the objects they describe."""
