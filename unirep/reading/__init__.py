"""The user's files, of which nothing is believed before it was looked at."""
