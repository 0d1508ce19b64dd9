r"""Pretraining: one codebook for audio, video and text (FCID).

python -m unirep.main --config=configs/pretrain.py --workdir=runs/first

Variants, separated by commas after a colon:
  method=fcid|dcid               the newer and the older method of the family
  data=synthetic|digits|grid|utd|arrays|media|photos|avel
                                 training data (default synthetic)
  preset=clean|released          the method mended, or as published
  size=small|paper|tiny          paper: the published widths; tiny: for tests
For example `--config=configs/pretrain.py:data=digits,preset=released`. Every
leaf is a flag as well: `--config.codebook.size=256`.
"""

from typing import Any

from ml_collections import ConfigDict

from unirep.configs import data as releases

CHOICES = {
  "method": ("fcid", "dcid"),
  "data": (
    *("synthetic", "digits", "grid", "utd", "arrays", "media"),
    *("photos", "avel"),
  ),
  "preset": ("clean", "released"),
  "size": ("small", "paper", "tiny"),
}


def get_config(arg: str = "") -> ConfigDict:
  variant = parse(arg, CHOICES)
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "pretrain"
  config.method = variant["method"]
  config.seed = 0
  config.steps = 400
  config.init_from = ""  # work directory of a run that gives the first weights
  config.batch_size = 80
  config.dropout = 0.1
  config.log_every = 10
  config.checkpoint_every = 100  # steps, and no sooner than after ...
  config.checkpoint_seconds = 30.0  # ... that time since the last one
  config.checkpoints_kept = 2
  config.checkpoints_required = False  # True: end where one can't be written
  config.allow_changed = False  # True: go on with other data or another model
  config.wandb = ""  # a project of Weights & Biases; needs unirep[wandb]
  config.workers = 0  # processes that load data; 0 loads in this one
  config.dtype = "float32"  # of the networks; codes and losses stay in float32

  # Devices that share one copy of the codebook, and maybe of wide parameters.
  config.mesh = {"model": 1, "params": False}
  # How rows are compared with those of other devices: dense holds all logits,
  # chunked some columns of them, ring one device's rows. Same numbers.
  config.contrast = "dense"
  config.contrast_chunk = 1024

  config.modalities = ("video", "audio", "text")  # the codebook's order
  config.fine = ("video", "audio")  # these share a time axis
  config.encoders = {
    "video": {"kind": "grid", "specific": 64},
    "audio": {"kind": "sequence", "specific": 256},
    "text": {"kind": "sequence", "specific": 256},
  }
  config.model = {"dim": 256, "heads": 4, "hidden": 1024, "layers": 1}
  config.cpc = {"width": 256, "layers": 2}
  config.club = {"hidden": 128, "rounds": 5, "learning_rate": 1e-3}
  config.codebook = {"size": 128}
  config.weights = {
    "fine_reconstruction": 1.0,
    "coarse_reconstruction": 1.0,
    "commitment": 1.0,
    "matching": 1.0,
    "cmcm": 1.0,
    "club": 1.0,
    "cpc": 1.0,
    "infonce": 1.0,
    "step_infonce": 1.0,
  }
  # The field's protocol: Adam at 4e-4, about twenty epochs, and codes under the
  # encoder's dropout (`passes` draws of it), so that a probe also learns the
  # codes next to the usual ones. Accuracies are means over `seeds` probes.
  config.probe = {
    "steps": 1000,
    "batch_size": 80,
    "learning_rate": 4e-4,
    "passes": 4,
    "seeds": 3,
    "samples": 0,  # to learn from, drawn at random; 0: all
  }

  {"clean": clean, "released": released}[variant["preset"]](config)
  sources = {"synthetic": synthetic, "digits": digits, "grid": grid, "utd": utd}
  sources |= {"arrays": arrays, "media": media, "photos": photos}
  if variant["data"] in sources:
    sources[variant["data"]](config)
  else:
    released_features(config, variant["data"], variant["preset"])
  # True: all samples lie in the memory of the devices, and are shuffled there.
  config.data.device_resident = False
  {"small": small, "paper": paper, "tiny": tiny}[variant["size"]](config)
  {"fcid": fcid, "dcid": dcid}[variant["method"]](config, variant["preset"])
  return config


def clean(config: Any) -> None:
  """The method with its defects mended; each line is one keyword."""
  config.club.negatives = "derangement"  # no sample is its own negative
  config.mask_padding = True  # zeros behind a short text are not words
  config.model.pool = "sum"
  # Vectors before quantization lie on a sphere, so that distances and losses
  # are cosines. Steps are quantized in training as they are downstream.
  config.model.update({"sphere": True, "steps": True})
  # One code for all modalities of a clip or a step. Codes begin asleep (dead)
  # and wake where modalities agree: codebook.size is an upper bound.
  config.codes = {
    "rule": "shared",
    "decay": 0.99,
    "places": 4,  # codes that a step may propose ...
    "threshold": 0.2,  # ... where residuals agree by that much ...
    "agreed": 0.2,  # ... and modalities on that share of its use
    "until": 0.5,  # share of the steps after which codes come to rest
    "limit": 30.0,  # steps without use after which a code falls asleep
    "count": 0.1,
  }
  config.weights.commitment = 0.0  # matching takes its part
  config.loss = {
    # In units of the target's variance; targets can't make themselves easy.
    "fine_reconstruction": {"normalize": True, "stop_target": True},
    "coarse_reconstruction": {"normalize": True, "stop_target": True},
    "commitment": {"own_weight": 0.5, "other_weight": 0.25},
    "matching": {"temperature": 0.1},  # as that of InfoNCE
    "distribution": {"kind": "cosine", "temperature": 0.1},  # not nearly flat
    "cmcm": {"paired": True, "epsilon": 1e-10},  # log-softmax, symmetric
    "club": {"per_step": True, "bounded": True},  # nats per feature, >= 0
    "cpc": {"self_weight": 0.1, "normalize": True},  # nats per term
    "infonce": {
      **{"temperature": 0.1, "symmetric": True, "floor": 1e-6},
      "grouped": True,  # the same caption is no negative
    },
    "step_infonce": {
      **{"temperature": 0.1, "symmetric": True, "floor": 1e-6},
      "every": False,  # True: all steps of all clips, not one of each
    },
  }
  config.optimizer = {
    "learning_rate": 4e-4,
    "warmup": 20,
    "decay": "cosine",
    "clip": 1.0,
    "per_module": False,  # one global norm keeps the terms' proportions
    "epsilon": 1e-8,
  }


def released(config: Any) -> None:
  """As the published code computes it, quirk by quirk."""
  config.club.negatives = "permutation"
  config.mask_padding = False
  config.model.pool = "sum"
  config.model.update({"sphere": False, "steps": False})
  config.codes = {
    "rule": "released",
    "bound": 1 / 400,
    "ema": {"decay": 0.99, "own_weight": 0.5, "epsilon": 1e-5},
    "restart": {"limit": 300.0, "active": 100.0, "offset": -1 / 1024},
  }
  config.weights.update({"matching": 0.0, "step_infonce": 0.0})
  config.loss = {
    "fine_reconstruction": {"normalize": False, "stop_target": False},
    "coarse_reconstruction": {"normalize": False, "stop_target": False},
    "commitment": {"own_weight": 0.5, "other_weight": 0.25},
    "matching": {"temperature": 0.1},
    "distribution": {"kind": "root", "floor": 0.0},
    "cmcm": {"paired": False, "epsilon": 1e-10},
    "club": {"per_step": False, "bounded": False},
    "cpc": {"self_weight": 0.1, "normalize": False},
    "infonce": {
      **{"temperature": 0.1, "symmetric": False, "floor": 1e-12},
      "grouped": False,
    },
    "step_infonce": {
      **{"temperature": 0.1, "symmetric": False, "floor": 1e-12},
      "every": False,
    },
  }
  config.optimizer = {
    "learning_rate": 4e-4,
    "warmup": 0,
    "decay": "constant",
    "clip": 0.5,
    "per_module": True,
    "epsilon": 1e-8,
  }


def fcid(config: Any, preset: str) -> None:
  """Seconds of audio and video, then clips of all: as set above."""
  del config, preset


def dcid(config: Any, preset: str) -> None:
  """Seconds of all modalities alike."""
  config.fine = config.modalities
  if config.data.source == "grid":
    config.data.aligned = True  # a word in every segment
    config.weights.update({"cpc": 1.0, "club": 1.0})
  del config.model["steps"]
  config.model.front = ("text",)  # read by a bidirectional LSTM first
  # After that every place of a text knows all of it, behind its end too.
  config.mask_padding = False
  config.weights.update(
    {
      "coarse_reconstruction": 0.0,
      "infonce": 0.0,
      "step_infonce": 0.0,
    }
  )
  if preset == "released":
    config.codes.spread = 1 / 1024  # noise in the place of a shift
    config.codes.restart.offset = 0.0


def synthetic(config: Any) -> None:
  """Procedural events, no files."""
  config.steps = 200
  config.data = {
    "source": "synthetic",
    "train_size": 4000,
    "test_size": 500,
    "classes": 10,  # the codes it takes: one each, and one for the background
    "variation": 0.4,  # of a segment, in audio and video alike; a class has 1
    "nuisance": 0.5,  # of a sequence, other in audio than in video
    "private": 0,  # classes that only audio has, and as many only in video
  }


def digits(config: Any) -> None:
  """Spoken and handwritten digits."""
  config.steps = 300  # training agrees in all clips by then
  config.data = {
    "source": "digits",
    "train_size": 4000,
    "test_size": 500,
    "fsdd": "",  # folder or zip of recordings; else $UNIREP_FSDD, else TFDS
    "speaker_out": "",  # hold one speaker out instead of takes 0-4
  }


def grid(config: Any) -> None:
  """GRID: a talker's sentences heard, seen and read, in segments of 0.2 s.

  Clips are few and long: an encoder that sees whole clips memorizes them. So
  segments are encoded one by one, and each is compared with all others. That
  aligns them without CPC, and CLUB separates nothing: docs/recordings.md.
  """
  for m in config.fine:
    config.encoders[m] = {"kind": "vector", "specific": 256}
  config.steps = 600
  config.codebook.size = 256
  if config.codes.rule == "shared":  # released stays as published
    config.optimizer.learning_rate = 1e-3
    config.loss.step_infonce.every = True
    config.weights.update({"step_infonce": 5.0, "cpc": 0.0, "club": 0.0})
    # Half of a clip is silence, and lips do not show all that is heard.
    config.codes.update({"agreed": 0.1, "until": 0.6})
  config.data = {
    "source": "grid",
    "path": "",  # folder or zip of a talker; else $UNIREP_GRID
    "train_size": 6000,  # 600 clips, each of them moved in so many ways ...
    "moved": 2,  # ... by up to that many pictures of 40 ms
    "aligned": False,  # True: text says each word when it is spoken
  }


def utd(config: Any) -> None:
  """UTD-MHAD: actions by three sensors of different rates, and their names."""
  config.modalities = ("inertial", "skeleton", "depth", "text")
  config.fine = ("inertial", "skeleton", "depth")
  config.encoders = {
    m: {"kind": "sequence", "specific": 256} for m in config.modalities
  }
  config.data = {
    "source": "utd",
    "path": "",  # the .npz file of docs/recordings.md; else $UNIREP_UTD
    "train_size": 3230,  # 323 sequences, each of them cut in so many ways ...
    "moved": 0.1,  # ... by up to that share of its length at both ends
  }


def arrays(config: Any) -> None:
  """Your own features, or a source that a file of yours makes: docs/data.md."""
  config.data = {
    "source": "arrays",
    "path": "",  # .npz, HDF5, folder of .npy or of shards, FILE.py:FUNCTION
    "missing": False,  # True: a sample's features that are all NaN are missing
    "resample": "none",  # nearest, mean or linear: `fine` to one time axis ...
    "steps": 0,  # ... of that many steps; 0: the fewest that one of them has
    "validation": "",  # held-out samples; empty: some of `path` ...
    "holdout": 0.1,  # ... that share, which training never sees ...
    "holdout_seed": 0,  # ... the same for any seed of training
  }


def media(config: Any) -> None:
  """Features from configs/extract.py: docs/media.md."""
  config.data = {
    "source": "media",
    "path": "",  # the work directory of an extraction
    "holdout": 0.1,  # share that is held out where no split is validation
    "holdout_seed": 0,
  }


def photos(config: Any) -> None:
  """Photos and captions that configs/extract.py wrote: no time, no seconds."""
  media(config)
  config.modalities, config.fine = ("image", "text"), ()
  config.encoders = {
    "image": {"kind": "vector", "specific": 256},
    "text": {"kind": "sequence", "specific": 256},
  }


def released_features(config: Any, name: str, preset: str) -> None:
  """VGGSound-AVEL's official features: docs/releases.md."""
  releases.release(config, name, preset == "released")


def small(config: Any) -> None:
  """For a laptop: as set above."""
  del config


def paper(config: Any) -> None:
  """The published widths: four epochs of 40,801 clips."""
  config.steps = 2040
  config.codebook.size = 400
  if "video" in config.encoders:
    config.encoders.video.specific = 2048


def tiny(config: Any) -> None:
  """For tests: runs in seconds, learns little."""
  config.steps = 2
  config.batch_size = 8
  config.log_every = 1
  config.checkpoint_every = 1
  config.checkpoint_seconds = 0.0
  config.model.update({"dim": 16, "heads": 2, "hidden": 16})
  config.cpc.update({"width": 16, "layers": 1})
  config.club.hidden = 8
  for encoder in config.encoders.values():
    encoder.specific = 8 if encoder.kind == "grid" else 16
  config.codebook.size = 16
  config.probe.update({"steps": 2, "passes": 1, "seeds": 1})


def parse(arg: str, choices: dict[str, tuple[str, ...]]) -> dict[str, str]:
  """Reads "key=value,key=value"; the first choice of a key is its default."""
  variant = {key: values[0] for key, values in choices.items()}
  for item in filter(None, arg.split(",")):
    key, _, value = item.partition("=")
    if value not in choices.get(key, ()):
      known = "; ".join(f"{k}={'|'.join(v)}" for k, v in choices.items())
      raise ValueError(f"unknown variant {item!r}; known are {known}")
    variant[key] = value
  return variant
