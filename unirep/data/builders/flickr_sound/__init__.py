"""FlickrSound: videos and their sound."""
