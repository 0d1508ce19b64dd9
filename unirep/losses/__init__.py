"""One free function per loss, and the objective that weighs them."""
