"""MSVD: videos and their captions."""
