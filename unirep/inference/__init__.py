"""A trained model in use: codes, search, export."""
