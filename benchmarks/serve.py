"""Serving: what a call of a trained model costs.

python -m benchmarks.serve --checkpoint=runs/first

Milliseconds a call of `encode`, for one sample and for 64 of each modality,
beside a call of the bare program at exactly that shape, in turns.
"""

import argparse
import time

import jax
import numpy as np

import unirep


def times(calls, count):
  """Seconds of each call, in turns, so that a slow minute hits all alike."""
  found = {name: [] for name in calls}
  for name in calls:
    calls[name]()  # compiles
  for _ in range(count):
    for name, call in calls.items():
      began = time.perf_counter()
      call()
      found[name].append(time.perf_counter() - began)
  return found


def main(argv=None):
  """Prints a row a modality and number of samples."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--checkpoint", required=True)
  parser.add_argument("--steps", type=int, default=10, help="time steps")
  parser.add_argument("--calls", type=int, default=200)
  args = parser.parse_args(argv)
  model = unirep.load(args.checkpoint)
  network, params = model._network, model._params
  rng = np.random.default_rng(0)
  bare = jax.jit(network.encode)
  print("| modality | samples | p50 ms | p99 ms | bare p50 | ratio |")
  print("|---|---|---|---|---|---|")
  for m in model.modalities:
    kind = network.kind(m)
    places = [max(7, least) for least in kind.least]
    for samples in (1, 64):
      shape = (samples, args.steps, *places, network.width(params, m))
      x = {m: rng.random(shape, np.float32)}
      found = times(
        {
          "encode": lambda x=x: model.encode(x),
          "bare": lambda x=x: jax.device_get(bare(params, model.codebook, x)),
        },
        args.calls if samples == 1 else args.calls // 10,
      )
      ours, theirs = (1e3 * np.array(found[k]) for k in ("encode", "bare"))
      ratio = np.median(ours) / np.median(theirs)
      print(
        f"| {m} | {samples} | {np.median(ours):.2f} | "
        f"{np.quantile(ours, 0.99):.2f} | {np.median(theirs):.2f} | "
        f"{ratio:.2f} |"
      )


if __name__ == "__main__":
  main()
