"""Networks of others, as Flax modules."""
