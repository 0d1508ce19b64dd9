"""The bytes of official feature releases: archives, pickles, lists."""
