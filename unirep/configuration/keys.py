"""Keys of jobs."""

from collections.abc import Mapping
from typing import Any

from unirep.configuration.types import (
  ANY,
  BATCH,
  CODES,
  COUNT,
  COUNTS,
  FEW,
  INSIDE,
  LAYERS,
  NAMES,
  NATURAL,
  OTHERS,
  PART,
  POSITIVE,
  RATE,
  SECONDS,
  SEED,
  SHARE,
  SIZE,
  UPPER,
  WEIGHT,
  WIDTH,
  WORKERS,
  Many,
  Maybe,
  Number,
  Section,
)

RULES = {  # codes.rule -> keys
  "shared": {
    **{"decay": SHARE, "agreed": SHARE, "until": SHARE},
    **{"places": FEW, "threshold": Number(-1, 1)},
    **{"limit": POSITIVE, "count": POSITIVE},
  },
  "released": {
    "bound": Number(0, 1000, above=True),
    "spread": Maybe(Number(0, 1000)),
    "ema": {"decay": SHARE, "own_weight": WEIGHT, "epsilon": UPPER},
    "restart": {
      **{"limit": SIZE, "active": SIZE},
      "offset": Number(-1000, 1000),
    },
  },
}
DISTRIBUTIONS = {  # loss.distribution.kind -> keys
  "cosine": {"temperature": RATE},
  "root": {"floor": SHARE},
}
MODELS = {"fcid": {"steps": Maybe(bool)}, "dcid": {"front": Maybe(NAMES)}}
CLIPS = {"temperature": RATE, "symmetric": bool, "floor": SHARE}
TARGET = {"normalize": bool, "stop_target": bool}
TOC = {
  **{"similarity_weight": WEIGHT, "variance_weight": WEIGHT},
  **{"top_share": Many(NATURAL), "centered": bool, "spare_dead": bool},
}
KEEP = Many(WIDTH)
WEIGHTS = (
  *("fine_reconstruction", "coarse_reconstruction", "commitment", "matching"),
  *("cmcm", "club", "cpc", "infonce", "step_infonce"),
)


def _chosen(section: Any, key: str, tables: Mapping[str, Section]) -> Section:
  """The keys of a section that one of its keys chooses."""
  name = section.get(key) if isinstance(section, Mapping) else None
  known = tables.get(name) if isinstance(name, str) else None
  return {key: str, **({OTHERS: None} if known is None else known)}


def _pretrain(settings: Section) -> Section:
  loss = settings.get("loss")
  spread = loss.get("distribution") if isinstance(loss, Mapping) else None
  method = settings.get("method")
  own = MODELS.get(method) if isinstance(method, str) else None
  return {
    **{"method": str, "seed": SEED, "steps": COUNT, "init_from": str},
    **{"allow_changed": bool, "identity": Maybe({ANY: str})},
    **{"batch_size": BATCH, "dropout": PART, "log_every": COUNT},
    **{"checkpoint_every": COUNT, "checkpoint_seconds": SIZE},
    **{"checkpoints_kept": FEW, "checkpoints_required": bool, "wandb": str},
    **{"workers": WORKERS, "dtype": str, "mask_padding": bool},
    **{"contrast": str, "contrast_chunk": COUNT},
    "mesh": {"model": WIDTH, "params": bool},
    **{"modalities": NAMES, "fine": NAMES},
    "encoders": {ANY: {"kind": str, "specific": Number(2, 2**16, True)}},
    "model": {
      **{"dim": WIDTH, "heads": WIDTH, "hidden": Number(1, 2**18, True)},
      **{"layers": LAYERS, "pool": str, "sphere": bool},
      **({OTHERS: None} if own is None else own),
    },
    "cpc": {"width": WIDTH, "layers": LAYERS},
    "club": {
      **{"hidden": WIDTH, "rounds": Number(0, 1000, True)},
      **{"learning_rate": RATE, "negatives": str},
    },
    "codebook": {"size": CODES},
    "codes": _chosen(settings.get("codes"), "rule", RULES),
    "weights": {**dict.fromkeys(WEIGHTS, WEIGHT), ANY: WEIGHT},
    "loss": {
      **{"fine_reconstruction": TARGET, "coarse_reconstruction": TARGET},
      "commitment": {"own_weight": WEIGHT, "other_weight": WEIGHT},
      "matching": {"temperature": RATE},
      "distribution": _chosen(spread, "kind", DISTRIBUTIONS),
      "cmcm": {"paired": bool, "epsilon": UPPER},
      "club": {"per_step": bool, "bounded": bool},
      "cpc": {"self_weight": WEIGHT, "normalize": bool},
      "infonce": {**CLIPS, "grouped": bool},
      "step_infonce": {**CLIPS, "every": bool},
      OTHERS: None,
    },
    "optimizer": {
      **{"learning_rate": RATE, "warmup": NATURAL, "decay": str},
      **{"clip": POSITIVE, "per_module": bool, "epsilon": UPPER},
    },
    "probe": {
      **{"steps": COUNT, "batch_size": BATCH, "learning_rate": RATE},
      **{"passes": FEW, "seeds": FEW, "samples": NATURAL},
    },
    "data": {
      "device_resident": bool,
      **_chosen(settings.get("data"), "source", LEARNED),
    },
    "extraction": Maybe(None),  # what a model remembers of its features
    "imported": Maybe(None),  # and of the file that it comes from
  }


def _evaluate(settings: Section) -> Section:
  return {
    **{"checkpoint": str, "seed": SEED, "seeds": FEW, "protocol": str},
    **{"tasks": NAMES, "trained_on": NAMES, "tested_on": NAMES},
    "allow_changed": bool,
    "toc": {**TOC, "keep": KEEP, "live_codes": bool},
    "probe": {
      **{"steps": COUNT, "evaluations": COUNT, "batch_size": BATCH},
      **{"learning_rate": RATE, "halve_at": Many(NATURAL)},
      **{"max_norm": POSITIVE, "passes": FEW, "samples": NATURAL},
    },
    "data": _chosen(settings.get("data"), "source", LOOKED_AT),
  }


def _retrieve(settings: Section) -> Section:
  return {
    **{"checkpoint": str, "checkpoints": NAMES, "seed": SEED},
    **{"modalities": NAMES, "split": str, "relevance": str},
    **{"representations": NAMES, "at": COUNTS},
    "resamples": Number(1, 10**6, whole=True),
    "toc": {**TOC, "keep": KEEP},
    "data": _chosen(settings.get("data"), "source", LOOKED_AT),
  }


def _generate(settings: Section) -> Section:
  return {
    **{"checkpoint": str, "checkpoints": NAMES, "seed": SEED},
    **{"targets": NAMES, "split": str, "label": str, "at": COUNTS},
    **{"guidance": Number(0, 1000), "sampling_steps": FEW, "drawn": FEW},
    "toc": {**TOC, "keep": Number(0, 2**16, whole=True)},
    "flow": {
      **{"steps": COUNT, "batch_size": BATCH, "learning_rate": RATE},
      **{"width": WIDTH, "blocks": LAYERS, "reach": FEW},
      **{"drop": PART, "decay": PART},
    },
    "judge": {"steps": COUNT, "learning_rate": RATE},
    "data": _chosen(settings.get("data"), "source", LOOKED_AT),
  }


def _toc(settings: Section) -> Section:
  del settings
  return {**TOC, "codebook": str, "keep": KEEP, "share": UPPER}


def _convert(settings: Section) -> Section:
  del settings
  return {"to": str, "path": Maybe(str), "checkpoint": Maybe(str)}


def _data(settings: Section) -> Section:
  return {
    **{"do": str, "against": NAMES, "open": bool, "shard": COUNT},
    "data": _chosen(settings.get("data"), "source", OFFICIAL),
  }


def _tokenize(settings: Section) -> Section:
  del settings
  return {
    **{"checkpoint": str, "features": str, "media": str, "missing": bool},
    **{"workers": WORKERS, "timeout": SECONDS, "allow_changed": bool},
  }


def _extract(settings: Section) -> Section:
  del settings
  return {
    **{"media": str, "extractors": {ANY: str}, "shares": {ANY: SHARE}},
    **{"seconds": Number(0.01, 3600), "steps": Number(1, 10**5, True)},
    **{"words": Number(1, 10**5, True), "whole": bool, "dtype": str},
    **{"workers": WORKERS, "timeout": SECONDS},
  }


KEYS = {  # job -> (settings -> its keys)
  "pretrain": _pretrain,
  "evaluate": _evaluate,
  "retrieve": _retrieve,
  "generate": _generate,
  "toc": _toc,
  "tokenize": _tokenize,
  "extract": _extract,
  "convert": _convert,
  "data": _data,
}


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
