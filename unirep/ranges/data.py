"""Keys of data, by their source."""

from unirep.ranges.kinds import (
  COUNT,
  FEW,
  INSIDE,
  NATURAL,
  SEED,
  Many,
  Maybe,
  Number,
)

SYNTHETIC = {
  "classes": FEW,
  "variation": Number(0, 1000),
  "nuisance": Number(0, 1000),
  "private": Number(0, 10_000, whole=True),
}
TWO = {"train_size": COUNT, "test_size": COUNT}
THREE = {**TWO, "validation_size": NATURAL}
ALIKE = {"missing": bool, "resample": str, "steps": Number(0, 2**16, True)}
HELD_OUT = {"path": str, "holdout": INSIDE, "holdout_seed": SEED}
TEXTS = {
  **{"list": str, "text": str, "filter": str, "word_map": str},
  "words": Number(1, 10_000, whole=True),
}
OFFICIAL = {  # data.source -> keys of the field's releases
  name: {
    **{"converted": str, "exclude": str, "whole": bool},
    "limit": Number(1, 2**20, whole=True),
    **keys,
  }
  for name, keys in {
    "avel": {
      **{"labels": str, "features": str, "learn_from": Many(str)},
      **{"held_out": str, **TEXTS},
    },
    "ave": {"labels": str, "features": str, "spare_shared": bool},
    "avvp": {"labels": str, "features": str, "clips": str, "repair": str},
    "ave_avvp": {
      **{"labels_ave": str, "labels_avvp": str, "features_ave": str},
      **{"features_avvp": str, "spare_shared": bool},
      **{"clips": str, "repair": str},
    },
    "ucf_vgg": {
      **{"labels": str, "features_ucf": str, "features_vgg": str},
      **{"first": str, "clips": str},
    },
    **{
      name: {"labels": str, "features": str, "pool": NATURAL, **TEXTS}
      for name in ("clotho", "coco", "msvd", "flickr_sound", "valor")
    },
  }.items()
}
LEARNED = {  # data.source -> keys, of what is learned from
  "synthetic": {**TWO, **SYNTHETIC},
  "digits": {**TWO, "fsdd": str, "speaker_out": str},
  "grid": {
    **{"path": str, "train_size": COUNT, "aligned": bool},
    "moved": Number(0, 1000, whole=True),
  },
  "utd": {"path": str, "train_size": COUNT, "moved": Number(0, 0.5)},
  "arrays": {**ALIKE, **HELD_OUT},
  "media": HELD_OUT,
  "avel": OFFICIAL["avel"],
}
LOOKED_AT = {  # the same of what is downstream
  "synthetic": {**THREE, **SYNTHETIC},
  "digits": {**THREE, "fsdd": str, "other_speaker": Maybe(str)},
  "grid": {"path": str, "aligned": bool},
  "utd": {"path": str},
  **OFFICIAL,
  "arrays": {
    **{"train": str, "validation": str, "test": str, "other": Maybe(str)},
    **ALIKE,
  },
  "media": {"path": str},
}
