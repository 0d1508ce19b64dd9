"""Six short runs on procedural data: two sizes of codebook, three seeds.

python -m unirep.launch.sweep --sweep=launch/sweeps/example.py --workdir=DIR
"""

from unirep.launch.grid import grid


def get_sweep():
  """Each mapping is one run: its changes to configs/pretrain.py.

  Another configuration goes by `"config": "configs/pretrain.py:data=digits"`.
  """
  return [
    {"steps": 100} | change
    for change in grid(**{"codebook.size": [64, 128], "seed": [0, 1, 2]})
  ]
