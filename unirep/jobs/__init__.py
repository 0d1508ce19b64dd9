"""Jobs: configuration in, results out."""
