"""The command line: flags, help, and how an experiment ends."""
