"""VALOR-32K: videos, their sound and a caption."""

from unirep.data.builders import base


class Builder(base.Release):
  """VALOR-32K: videos, their sound and a caption."""

  RELEASE = "valor"
  PARTS = ("test",)
  SHAPES = base.VIDEO | base.AUDIO | base.WORDS
  LABELS = {"id": ()}
  OPTIONS = base.TEXT | {"list": "desc_test.json", "pool": 0}
