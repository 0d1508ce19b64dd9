"""VGGSound: what is heard of classes that UCF101 has as well."""
