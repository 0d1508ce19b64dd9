"""TFDS builders of official releases, a package each; no TensorFlow."""
