"""Serving: the time of a call of a trained model.

python -m benchmarks.serve --checkpoint=runs/first

For one sample and for 64 of each modality, prints milliseconds a call (median
and 99th percentile) and samples a second. The ways are `encode`, the exported
program, and the forward pass of training at exactly that shape, in turns.
Compilation does not count.
"""

import argparse
import pathlib
import tempfile
import time

import jax
import numpy as np
from jax import export
from safetensors.numpy import load_file

import unirep


def times(calls, count):
  """Seconds of each call, in turns, so that a slow minute hits all alike."""
  seconds = {name: [] for name in calls}
  for name in calls:
    calls[name]()  # compiles
  for _ in range(count):
    for name, call in calls.items():
      began = time.perf_counter()
      call()
      seconds[name].append(time.perf_counter() - began)
  return seconds


def exported(folder, about, m):
  """The exported program of a modality, with its weights."""
  entry = about["modalities"][m]
  data = (folder / entry["program"]).read_bytes()
  weights = load_file(folder / about["weights"])
  weights = jax.device_put({name: weights[name] for name in entry["weights"]})
  program = jax.jit(export.deserialize(bytearray(data)).call)
  return lambda x: jax.device_get(
    program(weights, x, np.full(len(x), x.shape[1], np.int32))
  )


def main(argv=None):
  """Prints a row for each modality, number of samples and way."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--checkpoint", required=True)
  parser.add_argument("--steps", type=int, default=10, help="time steps")
  parser.add_argument("--calls", type=int, default=200)
  args = parser.parse_args(argv)
  model = unirep.load(args.checkpoint)
  network, params = model.network, model.params
  rng = np.random.default_rng(0)
  bare = jax.jit(network.encode)
  print("| modality | samples | way | p50 ms | p99 ms | samples/s |")
  print("|---|---|---|---|---|---|")
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    about = model.export(folder)
    programs = {m: exported(folder, about, m) for m in model.modalities}
  for m in model.modalities:
    kind = network.kind(m)
    places = [max(7, least) for least in kind.least]
    for samples in (1, 64):
      shape = (samples, args.steps, *places, network.width(params, m))
      x = rng.random(shape, np.float32)
      calls = {
        "encode": lambda x=x, m=m: model.encode({m: x}),
        "exported (steps and clips)": lambda x=x, m=m: programs[m](x),
        "forward of training": lambda x=x, m=m: jax.device_get(
          bare(params, model.codebook, {m: x})
        ),
      }
      count = args.calls if samples == 1 else max(args.calls // 10, 1)
      for way, seconds in times(calls, count).items():
        half, most = 1e3 * np.quantile(seconds, (0.5, 0.99))
        print(
          f"| {m} | {samples} | {way} | {half:.2f} | {most:.2f} |"
          f" {1e3 * samples / half:.0f} |"
        )


if __name__ == "__main__":
  main()
