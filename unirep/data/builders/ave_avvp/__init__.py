"""AVE: clips of the classes that AVVP has as well."""
