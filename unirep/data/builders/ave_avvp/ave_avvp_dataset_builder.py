"""AVE: clips of the classes that AVVP has as well."""

from unirep.data.builders import base


class Builder(base.Release):
  """AVE: clips of the classes that AVVP has as well."""

  RELEASE = "ave_avvp"
  PARTS = ("train", "validation", "test")
  SHAPES = base.VIDEO | base.AUDIO
  LABELS = {"class": (), "events/video": (10, 13), "events/audio": (10, 13)}
  PLACES = ("labels_ave", "labels_avvp", "features_ave", "features_avvp")
  OPTIONS = {"spare_shared": True, "repair": "drop"}
