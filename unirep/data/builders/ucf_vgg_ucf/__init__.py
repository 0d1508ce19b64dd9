"""UCF101: what is seen of classes that VGGSound has as well."""
