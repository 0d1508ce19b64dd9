"""VGGSound-AVEL: video, sound and the prompt of a class."""
