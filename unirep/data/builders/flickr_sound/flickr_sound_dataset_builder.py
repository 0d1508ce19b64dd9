"""FlickrSound: videos and their sound."""

from unirep.data.builders import base


class Builder(base.Release):
  """FlickrSound: videos and their sound."""

  RELEASE = "flickr_sound"
  PARTS = ("test",)
  SHAPES = base.VIDEO | base.AUDIO
  LABELS = {"id": ()}
  OPTIONS = base.TEXT | {"list": "flickr_sound_test.csv", "pool": 0}
