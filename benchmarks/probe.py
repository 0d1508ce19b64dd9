"""Time of a sweep of K in which all probes train together.

python -m benchmarks.probe
python -m benchmarks.probe --keeps=2 --seeds=2

Trains the clip probes of random codes for every mask, source and seed in one
program, then each on its own with the same compiled functions, and prints both
times without compilation, and their ratio.
"""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from unirep.quantizer import toc
from unirep.tasks import classification
from unirep.tasks.probing import probe
from unirep.tasks.probing.probe import Split

KEEPS = flags.DEFINE_integer("keeps", 7, "Sizes of the sweep.", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 5, "Seeds.", lower_bound=1)
CHUNK = flags.DEFINE_integer("chunk", None, "Side by side; default by device.")
STEPS = flags.DEFINE_integer("steps", 100, "Steps a probe.", lower_bound=1)

SAMPLES, TIME, CODES, DIM, CLASSES, SOURCES = 2000, 10, 128, 256, 10, 2


def random_split(rng):
  """Codes and labels of two sources."""
  return Split(
    jnp.asarray(rng.integers(0, CODES, (SOURCES, SAMPLES, TIME))),
    jnp.asarray(rng.integers(0, CLASSES, (SOURCES, SAMPLES))),
  )


def timed(function):
  """Seconds of the second call: the first one compiles."""
  jax.block_until_ready(function())
  began = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - began


def main(argv):
  """Prints one JSON object."""
  del argv
  rng = np.random.default_rng(0)
  code_KxD = jnp.asarray(rng.random((CODES, DIM), np.float32))
  keeps = np.linspace(DIM // 4, DIM, KEEPS.value).astype(int)
  keep_MxD = toc.sweep(toc.importance(code_KxD), keeps)
  train = random_split(rng)
  tests = {"test": random_split(rng)}
  key_R = jax.random.split(jax.random.key(0), SEEDS.value)
  options = {
    "task": classification.task(CLASSES),
    "optimizer": probe.optimizer(1e-3),
    "steps": STEPS.value,
    "evaluations": 1,
    "batch_size": 80,
    "chunk": CHUNK.value,
  }

  def together():
    return probe.sweep(key_R, code_KxD, keep_MxD, train, tests, **options)

  def apart():
    results = []
    for m in range(KEEPS.value):
      for s in range(SOURCES):
        one = jax.tree.map(lambda x, s=s: x[s : s + 1], (train, tests))
        for r in range(SEEDS.value):
          results.append(
            probe.sweep(
              key_R[r : r + 1],
              code_KxD,
              keep_MxD[m : m + 1],
              *one,
              **options,
            )
          )
    return results

  probes = KEEPS.value * SOURCES * SEEDS.value
  seconds = {"together": timed(together), "apart": timed(apart)}
  result = {
    "device": jax.devices()[0].device_kind,
    "probes": probes,
    "steps": STEPS.value,
    "together_seconds": seconds["together"],
    "apart_seconds": seconds["apart"],
    "ratio": seconds["apart"] / seconds["together"],
  }
  print(json.dumps(result, indent=1))


if __name__ == "__main__":
  app.run(main)
