"""MSCOCO: photos and their captions."""
