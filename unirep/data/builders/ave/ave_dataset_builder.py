"""AVE: clips of one event."""

from unirep.data.builders import base


class Builder(base.Release):
  """AVE: clips of one event."""

  RELEASE = "ave"
  PARTS = ("train", "validation", "test")
  SHAPES = base.VIDEO | base.AUDIO
  LABELS = {"class": (), "events/video": (10, 29), "events/audio": (10, 29)}
  OPTIONS = {"spare_shared": True}
