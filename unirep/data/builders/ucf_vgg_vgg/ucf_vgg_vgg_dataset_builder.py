"""VGGSound: what is heard of classes that UCF101 has as well."""

from unirep.data.builders import base


class Builder(base.Release):
  """VGGSound: what is heard of classes that UCF101 has as well."""

  RELEASE = "ucf_vgg"
  PARTS = ("vgg_train", "vgg_validation", "vgg_test")
  SHAPES = base.AUDIO
  LABELS = {"class": ()}
  PLACES = ("labels", "features_ucf", "features_vgg")
