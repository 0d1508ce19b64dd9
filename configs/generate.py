r"""Generation of one modality from the codes of the others.

python -m unirep.main --config=configs/generate.py:data=digits \
  --config.checkpoint=runs/digits --workdir=runs/generated

Variants, separated by commas after a colon:
  data=digits|grid|utd
  size=small|tiny             tiny: for tests
"""

from typing import Any

from ml_collections import ConfigDict

from unirep.configs.pretrain import parse

CHOICES = {
  "data": ("digits", "grid", "utd"),
  "size": ("small", "tiny"),
}


def get_config(arg: str = "") -> ConfigDict:
  variant = parse(arg, CHOICES)
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "generate"
  config.checkpoint = ""  # work directory of a pretraining run
  config.checkpoints = ()  # more of them, other seeds
  config.seed = 0  # of networks, batches and noise
  config.targets = ()  # modalities to make; empty: all that can be shown
  config.split = "test"
  config.label = ""  # the label that the judge predicts; set for each data
  config.guidance = 1.0  # above 1 the codes weigh more
  config.sampling_steps = 32  # from noise to data
  config.at = (1, 10)  # real samples that may be retrieved
  config.toc = {
    "keep": 0,  # dimensions of codes that are told; 0: all
    "similarity_weight": 0.7,
    "variance_weight": 0.3,
    "top_share": (1, 0),  # of highest and of lowest importance
    "centered": False,  # True ranks by variance alone
    "spare_dead": False,  # True never prefers dimensions that are always zero
  }
  config.flow = {
    "steps": 3000,
    "batch_size": 32,  # samples
    "learning_rate": 2e-3,
    "width": 256,
    "blocks": 3,
    "reach": 1,  # steps that are made together: docs/tasks.md
    "drop": 0.1,  # share of samples without codes, for guidance
    "decay": 0.999,  # of the mean of parameters
  }
  config.judge = {"steps": 1500, "learning_rate": 2e-3}
  config.drawn = 10  # samples in samples.png and in sounds/
  {"digits": digits, "grid": grid, "utd": utd}[variant["data"]](config)
  {"small": small, "tiny": tiny}[variant["size"]](config)
  return config


def digits(config: Any) -> None:
  """Images of digits, and spoken ones; a thing is a second with an event."""
  config.label = "segments"
  config.data = {
    "source": "digits",
    "train_size": 3500,
    "validation_size": 500,
    "test_size": 500,
    "fsdd": "",  # folder or zip of recordings; else $UNIREP_FSDD, else TFDS
  }


def grid(config: Any) -> None:
  """Mouths and voices; a thing is a whole sentence."""
  config.label = "slot/adverb"
  config.data = {"source": "grid", "path": "", "aligned": False}
  config.flow.reach = 5


def utd(config: Any) -> None:
  """Skeletons, depth and inertial curves; a thing is a whole action."""
  config.label = "class"
  config.data = {"source": "utd", "path": ""}
  config.flow.reach = 5


def small(config: Any) -> None:
  """For a laptop: as set above."""
  del config


def tiny(config: Any) -> None:
  """For tests: little of everything."""
  config.flow.update({"steps": 4, "width": 16, "blocks": 1, "batch_size": 4})
  config.judge.steps, config.sampling_steps, config.drawn = 4, 2, 2
  if "train_size" in config.data:
    config.data.update({"train_size": 24, "validation_size": 8, "test_size": 8})
