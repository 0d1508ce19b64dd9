"""Configuration in, results out: the only reader of a ConfigDict."""
