"""Ranges of keys that are narrower than their type says.

A pattern of dotted keys -> the range of the number, or of each number of a
tuple; the first pattern that fits counts. A key without one takes any number
from 0 (from 1, where every default is 1 or more) to 1e9, or 2^31 - 1 if it is
whole. A tuple that is empty by default holds text, unless it has a range here.
"""

RATE = "0 < x <= 1e4"
SHARE = "0 <= x <= 1"
WEIGHT = "0 <= x <= 1e6"
WIDTH = "1 <= x <= 65536"
LAYERS = "1 <= x <= 1000"
FEW = "1 <= x <= 10000"
SMALL = "0 < x <= 1"

BOUNDS = {
  # All jobs.
  "seed": "0 <= x <= 4294967295",
  "data.holdout_seed": "0 <= x <= 4294967295",
  "*batch_size": "1 <= x <= 1048576",
  "*learning_rate": RATE,
  "workers": "0 <= x <= 1000",
  "timeout": "0 < x <= 1e6",  # seconds: no system waits longer
  "*seeds": FEW,
  "*passes": FEW,
  # Pretraining.
  "dropout": "0 <= x < 1",
  "checkpoints_kept": FEW,
  "mesh.model": WIDTH,
  "encoders.*.specific": "2 <= x <= 65536",
  "model.hidden": "1 <= x <= 262144",
  "*.layers": LAYERS,
  "model.*": WIDTH,
  "cpc.width": WIDTH,
  "club.hidden": WIDTH,
  "club.rounds": "0 <= x <= 1000",
  "codebook.size": "1 <= x <= 4194304",
  "codes.places": FEW,
  "codes.threshold": "-1 <= x <= 1",
  "codes.limit": "0 < x <= 1e9",
  "codes.count": "0 < x <= 1e9",
  "codes.bound": "0 < x <= 1000",
  "codes.spread": "0 <= x <= 1000",
  "codes.ema.own_weight": WEIGHT,
  "codes.ema.epsilon": SMALL,
  "codes.restart.offset": "-1000 <= x <= 1000",
  "codes.restart.*": "0 <= x <= 1e9",
  "codes.*": SHARE,
  "weights.*": WEIGHT,
  "loss.*.temperature": RATE,
  "loss.*.epsilon": SMALL,
  "loss.*.floor": SHARE,
  "loss.*_weight": WEIGHT,
  "optimizer.clip": "0 < x <= 1e9",
  "optimizer.epsilon": SMALL,
  # Data.
  "data.classes": FEW,
  "data.variation": "0 <= x <= 1000",
  "data.nuisance": "0 <= x <= 1000",
  "data.private": "0 <= x <= 10000",
  "data.steps": "0 <= x <= 65536",
  "data.holdout": "0 < x < 1",
  "data.limit": "1 <= x <= 1048576",  # MB
  "data.words": FEW,
  "data.validation_size": "0 <= x <= 2147483647",
  "data.moved": "0 <= x <= 1000",
  # Tasks and TOC.
  "*max_norm": "0 < x <= 1e9",
  "*halve_at": "0 <= x <= 2147483647",
  "*similarity_weight": WEIGHT,
  "*variance_weight": WEIGHT,
  "keep": WIDTH,
  "toc.keep": "0 <= x <= 65536",
  "share": SMALL,
  "resamples": "1 <= x <= 1000000",
  "guidance": "0 <= x <= 1000",
  "sampling_steps": FEW,
  "drawn": FEW,
  "flow.width": WIDTH,
  "flow.blocks": LAYERS,
  "flow.reach": FEW,
  "flow.drop": "0 <= x < 1",
  "flow.decay": "0 <= x < 1",
  # Extraction.
  "shares.*": SHARE,
  "seconds": "0.01 <= x <= 3600",
  "words": "1 <= x <= 100000",
}
