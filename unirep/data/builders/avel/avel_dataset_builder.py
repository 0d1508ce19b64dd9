"""VGGSound-AVEL: video, sound and the prompt of a class."""

from unirep.data.builders import base


class Builder(base.Release):
  """VGGSound-AVEL: video, sound and the prompt of a class."""

  RELEASE = "avel"
  PARTS = ("train", "val", "test")
  SHAPES = base.VIDEO | base.AUDIO | base.WORDS
  LABELS = {"class": ()}
  OPTIONS = base.TEXT | {"list": "vggsound-avel40k.csv"}
