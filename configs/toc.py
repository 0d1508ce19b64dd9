"""TOC: the dimensions of a codebook that matter, without training.

python -m unirep.main --config=configs/toc.py --config.codebook=codes.npy
python -m unirep.main --config=configs/toc.py --config.codebook=runs/digits

Any (K, D) array will do, or the work directory of a pretraining run.
"""

from typing import Any

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
  if arg:
    raise ValueError(f"unknown variant {arg!r}; this configuration has none")
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "toc"
  config.codebook = ""  # a .npy file, or a checkpoint
  config.keep = ()  # dimensions to keep; empty: the published sizes that fit
  config.similarity_weight = 0.7
  config.variance_weight = 0.3  # 0 in three of the four published scripts
  config.top_share = (1, 0)  # parts of highest and of lowest importance
  config.centered = False  # ranks by variance alone
  config.spare_dead = False  # dimensions that are always zero come last
  config.share = (
    0.95  # of the variance between codes, for the label-free choice
  )
  return config
