r"""Checkpoints of the field and of others, in and out.

python -m unirep.main --config=configs/convert.py:import --workdir=runs/fcid \
  --config.path=FCID.pt
python -m unirep.main --config=configs/convert.py:official --workdir=runs/out \
  --config.checkpoint=runs/fcid

Variants, after a colon:
  import        a .pt file of FCID or DCID, or a folder that `safetensors` has
                written, becomes a work directory with a model like any other
  safetensors   a model of ours becomes model.safetensors and model.json
  official      one of preset=released becomes model.pt, for official code
"""

from typing import Any

from ml_collections import ConfigDict

VARIANTS = ("import", "safetensors", "official")


def get_config(arg: str = "") -> ConfigDict:
  arg = arg or VARIANTS[0]
  if arg not in VARIANTS:
    raise ValueError(
      f"unknown variant {arg!r}; known are {', '.join(VARIANTS)}"
    )
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "convert"
  config.to = arg
  if arg == "import":
    config.path = ""  # a .pt file, or a folder
  else:
    config.checkpoint = ""  # a work directory of pretraining, or of import
  return config
