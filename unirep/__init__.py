"""One discrete code for audio, video and text, in JAX."""
