"""Ways to start runs elsewhere, and many of them."""
