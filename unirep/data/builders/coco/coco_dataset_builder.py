"""MSCOCO: photos and their captions."""

from unirep.data.builders import base


class Builder(base.Release):
  """MSCOCO: photos and their captions."""

  RELEASE = "coco"
  PARTS = ("test",)
  SHAPES = {"video": (1, 7, 7, 512)} | base.WORDS
  LABELS = {"id": ()}
  OPTIONS = base.TEXT | {"list": "captions_val2017.json", "pool": 0}
