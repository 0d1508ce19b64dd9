"""AVVP (LLP): what is seen and heard in each second."""

from unirep.data.builders import base


class Builder(base.Release):
  """AVVP (LLP): what is seen and heard in each second."""

  RELEASE = "avvp"
  PARTS = ("train", "validation", "test", "rest")
  SHAPES = base.VIDEO | base.AUDIO
  LABELS = {"events/video": (10, 26), "events/audio": (10, 26)}
  LACKS = True
  OPTIONS = {"repair": "drop"}
