r"""Downstream tasks on the codes of a trained model, with TOC and without.

python -m unirep.main --config=configs/evaluate.py:data=digits \
  --config.checkpoint=runs/digits --workdir=runs/digits-evaluated

Variants, separated by commas after a colon:
  task=all|classification|slots|localization|cross_classification|
       cross_localization
  data=synthetic|digits|grid|utd|ave|arrays|media|avvp|ave_avvp|
       ucf_vgg|vgg_ucf
  protocol=heldout|released
  size=small|tiny             tiny: for tests
"""

from typing import Any

from ml_collections import ConfigDict

from unirep.configs import data as releases
from unirep.configs.pretrain import parse

TASKS = (
  "classification",
  "slots",
  "localization",
  "cross_classification",
  "cross_localization",
)
CHOICES = {
  "task": ("all", *TASKS),
  "data": (
    *("synthetic", "digits", "grid", "utd", "ave", "arrays", "media"),
    *("avvp", "ave_avvp", "ucf_vgg", "vgg_ucf"),
  ),
  "protocol": ("heldout", "released"),
  "size": ("small", "tiny"),
}


def get_config(arg: str = "") -> ConfigDict:
  variant = parse(arg, CHOICES)
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "evaluate"
  config.checkpoint = ""  # work directory of a pretraining run
  config.seed = 0
  config.allow_changed = False  # True: go on with other data or another model
  config.seeds = 5  # probes of each kind
  config.tasks = TASKS if variant["task"] == "all" else (variant["task"],)
  # Modalities; empty: those that have a code a step, or else all.
  config.trained_on = ()
  config.tested_on = ()
  config.protocol = variant["protocol"]
  config.toc = {
    "keep": (),  # dimensions; empty: the published numbers that fit
    "similarity_weight": 0.7,
    "variance_weight": 0.3,
    "top_share": (1, 0),  # of highest and of lowest importance
    "centered": False,  # True ranks by variance alone
    "live_codes": False,  # True leaves out codes that no training sample has
    "spare_dead": False,  # True never prefers dimensions that are always zero
  }
  config.probe = {
    "steps": 400,
    "evaluations": 4,
    "batch_size": 80,
    "learning_rate": 1e-3,
    "halve_at": (),  # steps at which the learning rate halves
    "max_norm": 0.5,
    "passes": 4,  # draws of the encoder's dropout
    "samples": 0,  # to learn from, drawn at random; 0: all
  }
  {"heldout": heldout, "released": released}[config.protocol](config)
  sources = {"synthetic": synthetic, "digits": digits, "grid": grid}
  sources |= {"utd": utd, "ave": ave, "avvp": avvp, "ave_avvp": ave_avvp}
  sources |= {"ucf_vgg": ucf_vgg, "vgg_ucf": vgg_ucf}
  {**sources, "arrays": arrays, "media": media}[variant["data"]](config)
  {"small": small, "tiny": tiny}[variant["size"]](config)
  return config


def heldout(config: Any) -> None:
  """Validation samples choose the evaluation, test samples report it."""
  del config


def released(config: Any) -> None:
  """As published: tested on the sequences trained on, the best epoch reported.

  Twenty epochs of 3500 sequences; the cross tasks are tested on the other data.
  """
  config.probe.update(
    {
      "steps": 880,
      "evaluations": 20,
      "learning_rate": 4e-4,
      "halve_at": (440, 880),
    }
  )


def only(config: Any, *tasks: str) -> None:
  """Of the tasks that are asked for those that the data has labels of."""
  config.tasks = tuple(t for t in config.tasks if t in tasks)


def synthetic(config: Any) -> None:
  """Procedural events, no files. Nothing to transfer between data sets."""
  only(config, "classification", "localization")
  config.data = {
    "source": "synthetic",
    "train_size": 3500,
    "validation_size": 500,
    "test_size": 500,
    # As in the run that trained the checkpoint: other numbers of classes are
    # other events.
    "classes": 10,
    "variation": 0.4,  # of a segment, in audio and video alike; a class has 1
    "nuisance": 0.5,  # of a sequence, other in audio than in video
    "private": 0,  # classes that only audio has, and as many only in video
  }


def digits(config: Any) -> None:
  """Spoken and handwritten digits."""
  only(config, *(t for t in TASKS if t != "slots"))
  config.data = {
    "source": "digits",
    "train_size": 3500,
    "validation_size": 500,
    "test_size": 500,
    "fsdd": "",  # folder or zip of recordings; else $UNIREP_FSDD, else TFDS
    "other_speaker": "theo",  # the second data set of the cross tasks
  }


def grid(config: Any) -> None:
  """GRID: the word in each place of a sentence, and at each time."""
  only(config, "slots", "localization")
  config.tested_on = config.trained_on = ("video", "audio", "text")
  config.data = {
    "source": "grid",
    "path": "",  # as in pretraining
    "aligned": False,
  }


def utd(config: Any) -> None:
  """UTD-MHAD: actions of people that training has not seen."""
  only(config, "classification")
  config.tested_on = config.trained_on = (
    *("inertial", "skeleton", "depth", "text"),
  )
  config.data = {"source": "utd", "path": ""}


def ave(config: Any) -> None:
  """AVE with its authors' features and annotations."""
  only(config, "classification", "localization")
  releases.release(config, "ave", config.protocol == "released")


def avvp(config: Any) -> None:
  """AVVP's official features and its dense annotations."""
  only(config, "localization")
  releases.release(config, "avvp", config.protocol == "released")


def ave_avvp(config: Any) -> None:
  """Learned from AVE, tested on the videos of AVVP with the same classes."""
  only(config, "cross_localization")
  releases.release(config, "ave_avvp", config.protocol == "released")


def ucf_vgg(config: Any) -> None:
  """Trained on video of UCF101, tested on audio of VGGSound."""
  only(config, "cross_classification")
  config.trained_on, config.tested_on = ("video",), ("audio",)
  releases.release(config, "ucf_vgg", config.protocol == "released")


def vgg_ucf(config: Any) -> None:
  """The other way around."""
  ucf_vgg(config)
  config.trained_on, config.tested_on = ("audio",), ("video",)
  config.data.first = "vgg"


def arrays(config: Any) -> None:
  """Your own features, each split a path as in pretraining: docs/data.md.

  With `label/class` (N,) for classification, and `label/segments/NAME` (N, T)
  or `label/events/NAME` (N, T, C) for localization in the modality NAME.
  """
  config.tasks = ("classification",)
  config.data = {
    "source": "arrays",
    "train": "",
    "validation": "",
    "test": "",
    "other": "",  # clips of a second data set, for cross_classification
    "missing": False,  # True: a sample's features that are all NaN are missing
    "resample": "none",  # as in pretraining
    "steps": 0,
  }


def media(config: Any) -> None:
  """Features from configs/extract.py, with their splits and classes."""
  config.tasks = ("classification",)
  config.data = {
    "source": "media",
    "path": "",  # the work directory of an extraction
  }


def small(config: Any) -> None:
  """For a laptop: as set above."""
  del config


def tiny(config: Any) -> None:
  """For tests: runs in seconds, learns little."""
  config.seeds = 2
  config.probe.update({"steps": 4, "evaluations": 2, "passes": 1})
  config.probe.halve_at = ()
  config.probe.batch_size = 8
  if "train_size" in config.data:
    config.data.update({"train_size": 24, "validation_size": 8, "test_size": 8})
