"""AVVP (LLP): what is seen and heard in each second."""
