"""AVVP: videos of the classes that AVE has as well."""

from unirep.data.builders import base


class Builder(base.Release):
  """AVVP: videos of the classes that AVE has as well."""

  RELEASE = "ave_avvp"
  PARTS = ("avvp",)
  SHAPES = base.VIDEO | base.AUDIO
  LABELS = {"events/video": (10, 13), "events/audio": (10, 13)}
  LACKS = True
  PLACES = ("labels_ave", "labels_avvp", "features_ave", "features_avvp")
  OPTIONS = {"spare_shared": True, "repair": "drop"}
