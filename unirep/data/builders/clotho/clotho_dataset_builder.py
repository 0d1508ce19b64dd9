"""Clotho: sounds of five captions."""

from unirep.data.builders import base


class Builder(base.Release):
  """Clotho: sounds of five captions."""

  RELEASE = "clotho"
  PARTS = ("test",)
  SHAPES = base.AUDIO | base.WORDS
  LABELS = {"id": ()}
  OPTIONS = base.TEXT | {"list": "clotho_captions_evaluation.csv", "pool": 0}
