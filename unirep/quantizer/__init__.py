"""The codebook: its state and updates, growth, and TOC."""
