"""Methods: a network, and what it asks of codebook and losses, a file each."""
