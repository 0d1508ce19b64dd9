"""Whether two runs ended in the same state and said the same on the way.

python tests/slurm/compare.py DIR DIR
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from test_main import final_state, logged

TOLERANCE = 1e-5


def main(one: str, other: str) -> int:
  """Prints by how much they differ; 1 if that is more than the tolerance."""
  (step, ours), (_, theirs) = (
    final_state(pathlib.Path(x)) for x in (one, other)
  )
  worst = [
    float(np.abs(ours[k].astype(float) - theirs[k].astype(float)).max())
    for k in ours.keys() | theirs.keys()
    if not np.array_equal(ours[k], theirs[k])
  ]
  same_log = logged(pathlib.Path(one)) == logged(pathlib.Path(other))
  sys.stdout.write(
    f"step {step}: of {len(ours)} arrays {len(worst) or 'none'} differ, by "
    f"{max(worst, default=0):.1e} at most; metrics of all steps "
    f"{'are equal' if same_log else 'differ'}\n"
  )
  return int(max(worst, default=0) > TOLERANCE)


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
