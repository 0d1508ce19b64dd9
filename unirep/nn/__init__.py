"""Stateless layers: blocks, encoders, decoders."""
