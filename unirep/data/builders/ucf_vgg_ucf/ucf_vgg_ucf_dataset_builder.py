"""UCF101: what is seen of classes that VGGSound has as well."""

from unirep.data.builders import base


class Builder(base.Release):
  """UCF101: what is seen of classes that VGGSound has as well."""

  RELEASE = "ucf_vgg"
  PARTS = ("ucf_train", "ucf_validation", "ucf_test")
  SHAPES = base.VIDEO
  LABELS = {"class": ()}
  PLACES = ("labels", "features_ucf", "features_vgg")
