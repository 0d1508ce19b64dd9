"""MSVD: videos and their captions."""

from unirep.data.builders import base


class Builder(base.Release):
  """MSVD: videos and their captions."""

  RELEASE = "msvd"
  PARTS = ("test",)
  SHAPES = base.VIDEO | base.WORDS
  LABELS = {"id": ()}
  OPTIONS = base.TEXT | {"list": "msvd_test.csv", "pool": 0}
