r"""Features to codes: your data through a trained model.

python -m unirep.main --config=configs/tokenize.py \
  --config.checkpoint=runs/digits --config.features=features.npz

`features` is a file or folder as in docs/data.md, or a folder that
configs/extract.py wrote; each shard of a folder has codes of its own. Or
`media` names raw files, as there: a model that learned from extracted
features knows how to read them.
"""

from typing import Any

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
  if arg:
    raise ValueError(f"unknown variant {arg!r}; this configuration has none")
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "tokenize"
  config.checkpoint = ""  # work directory of a pretraining run
  config.features = ""  # .npz, HDF5, folder of .npy or of shards
  config.media = ""  # or a folder or .csv file of raw media
  config.workers = 1  # processes that read media; 0 reads in this one
  config.timeout = 300.0  # seconds after which a worker gives a file up
  config.allow_changed = False  # True: go on with other data or another model
  config.missing = False  # True: a sample's features all NaN are missing
  return config
