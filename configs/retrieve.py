r"""Retrieval across modalities by the codes of a trained model.

python -m unirep.main --config=configs/retrieve.py:data=digits \
  --config.checkpoint=runs/digits --workdir=runs/retrieved

Variants, separated by commas after a colon:
  data=synthetic|digits|grid|utd|arrays|media|clotho|coco|msvd|
       flickr_sound|valor
  relevance=pair|class|id     hits: the same sample, any of its class,
                              any of the same label/id (five captions a photo)
  size=small|tiny             tiny: for tests
"""

from typing import Any

from ml_collections import ConfigDict

from unirep.configs import data as releases
from unirep.configs.pretrain import parse

CHOICES = {
  "data": (
    *("synthetic", "digits", "grid", "utd", "arrays", "media"),
    *releases.RETRIEVAL,
  ),
  "relevance": ("pair", "class", "id"),
  "size": ("small", "tiny"),
}


SEVERAL = ("clotho", "coco", "msvd")  # captions a sound, photo or video


def get_config(arg: str = "") -> ConfigDict:
  variant = parse(arg, CHOICES)
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "retrieve"
  config.checkpoint = ""  # work directory of a pretraining run
  config.checkpoints = ()  # more of them, other seeds
  config.seed = 0  # of the bootstrap
  config.modalities = ()  # empty: all that model and data have
  config.split = "test"
  config.relevance = variant["relevance"]
  # From one code a clip to vectors before quantization: docs/tasks.md.
  config.representations = (
    *("code", "vector", "bag", "steps", "soft"),
    *("general", "clip"),
  )
  config.at = (1, 5, 10, 50)  # samples that may be retrieved; the first leads
  config.resamples = 1000  # of queries, for intervals
  config.toc = {
    "keep": (),  # dimensions; empty: the published numbers that fit
    "similarity_weight": 0.7,
    "variance_weight": 0.3,
    "top_share": (1, 0),  # of highest and of lowest importance
    "centered": False,  # True ranks by variance alone
    "spare_dead": False,  # True never prefers dimensions that are always zero
  }
  sources = {"synthetic": synthetic, "digits": digits, "grid": grid, "utd": utd}
  sources |= {"arrays": arrays, "media": media}
  if variant["data"] in sources:
    sources[variant["data"]](config)
  else:
    releases.release(config, variant["data"], released=False)
    if "relevance=" not in arg and variant["data"] in SEVERAL:
      config.relevance = "id"
  {"small": small, "tiny": tiny}[variant["size"]](config)
  return config


def synthetic(config: Any) -> None:
  """Procedural events, no files."""
  config.data = {
    "source": "synthetic",
    "train_size": 3500,
    "validation_size": 500,
    "test_size": 500,
    # As in the run that trained the checkpoint: other numbers of classes are
    # other events.
    "classes": 10,
    "variation": 0.4,
    "nuisance": 0.5,
    "private": 0,
  }


def digits(config: Any) -> None:
  """Spoken and handwritten digits."""
  config.data = {
    "source": "digits",
    "train_size": 3500,
    "validation_size": 500,
    "test_size": 500,
    "fsdd": "",  # folder or zip of recordings; else $UNIREP_FSDD, else TFDS
  }


def grid(config: Any) -> None:
  """GRID: every sentence has one right answer."""
  config.data = {"source": "grid", "path": "", "aligned": False}


def utd(config: Any) -> None:
  """UTD-MHAD: of `relevance=class`, any sequence of the same action."""
  config.data = {"source": "utd", "path": ""}


def arrays(config: Any) -> None:
  """Your own features, each split a path as in pretraining: docs/data.md.

  Only that of `split` is read. With `label/id` (N,) for relevance=id, and with
  `label/class` for relevance=class.
  """
  config.data = {
    "source": "arrays",
    "train": "",
    "validation": "",
    "test": "",
    "missing": False,  # True: a sample's features that are all NaN are missing
    "resample": "none",  # as in pretraining
    "steps": 0,
  }


def media(config: Any) -> None:
  """Features from configs/extract.py, with their splits and classes."""
  config.data = {
    "source": "media",
    "path": "",  # the work directory of an extraction
  }


def small(config: Any) -> None:
  """For a laptop: as set above."""
  del config


def tiny(config: Any) -> None:
  """For tests: few samples, and few of them retrieved."""
  config.at, config.resamples = (1, 5), 20
  if "train_size" in config.data:
    config.data.update({"train_size": 24, "validation_size": 8, "test_size": 8})
