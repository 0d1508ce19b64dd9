"""AVVP: videos of the classes that AVE has as well."""
