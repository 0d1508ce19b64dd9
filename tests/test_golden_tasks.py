"""The published probes against recorded float64 arrays, sliced and masked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_golden import Golden, close

from unirep.tasks import classification, criteria, localization, probe, scores
from unirep.tasks.probe import Split

pytestmark = pytest.mark.usefixtures("x64")

NAMES = ("probe_ave", "probe_avvp", "probe_ave_avvp")
CASES = ("continuous", "quantised")


@functools.cache
def golden(name):
  return Golden(name)


def params_of(part, alpha=None, keep=None, dim=0):
  """Official layers as ours; with `keep` spread over `dim` dimensions."""
  hidden = part["linear.weight"].T, part["linear.bias"]
  outputs = part["event_classifier.weight"].T, part["event_classifier.bias"]
  if keep is not None:
    wide = np.zeros((dim, dim)), np.zeros(dim)
    wide[0][np.ix_(keep, keep)], wide[1][keep] = hidden
    rows = np.zeros((dim, outputs[0].shape[1]))
    rows[keep] = outputs[0]
    hidden, outputs = wide, (rows, outputs[1])
  params = {
    "hidden": dict(
      zip(("kernel", "bias"), map(jnp.asarray, hidden), strict=True)
    ),
    "outputs": dict(
      zip(("kernel", "bias"), map(jnp.asarray, outputs), strict=True)
    ),
  }
  if alpha is not None:
    params["alpha"] = jnp.asarray(alpha, float)
  return params


def setting(name, masked):
  """The task, parameters, and what turns features into (codes, indices)."""
  g = golden(name)
  classes, indices = int(g["meta/class_num"]), g["in/indices"].astype(int)
  ave = name == "probe_ave"
  task = (classification if ave else localization).task(classes)
  alpha = None if ave else np.full(classes, float(g["meta/alpha_init"]))

  def codes(vq_BxTxD):
    B, T, D = vq_BxTxD.shape
    rows = jnp.asarray(vq_BxTxD, float).reshape(B * T, D)
    rows = rows * np.isin(np.arange(D), indices) if masked else rows[:, indices]
    return rows, jnp.arange(B * T).reshape(B, T)

  keep = indices if masked else None
  dim = 96
  params = params_of(g.below("param"), alpha, keep, dim)
  return (
    g,
    task,
    params,
    codes,
    functools.partial(params_of, alpha=alpha, keep=keep, dim=dim),
  )


def label_of(task, labels):
  labels = jnp.asarray(labels)
  return scores.released_class(labels) if task.head is probe.clip else labels


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_loss_and_gradients(name, case, masked):
  g, task, params, codes, official = setting(name, masked)
  rows, idx = codes(g[f"in/{case}/vq"])
  label = label_of(task, g[f"in/{case}/labels"])
  logits = task.head(params, rows, idx)
  expected = g[f"out/{case}/logits"]
  close(logits.reshape(expected.shape), expected)
  wide = "" if task.head is probe.clip else "float64/"
  loss, grads = jax.value_and_grad(
    lambda p: task.loss(p, task.head(p, rows, idx), label)
  )(params)
  close(loss, g[f"out/{case}/{wide}loss"])
  theirs = official(g.below(f"grad/{case}/{wide}param"))
  for layer in ("hidden", "outputs"):
    for leaf, x in grads[layer].items():
      close(x, theirs[layer][leaf], what=f"{layer}/{leaf}")
  if wide:
    close(grads["alpha"], g[f"grad/{case}/float64/alpha"])
    plain = criteria.binary_cross_entropy(logits, label)
    close(plain, g[f"out/{case}/float64/bce_loss"])
  else:
    np.testing.assert_array_equal(label, g[f"out/{case}/labels_event"])
    accuracy = 100 * scores.value(scores.accuracy(logits, label))
    close(accuracy, g[f"out/{case}/accuracy"])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_three_training_steps(name, masked):
  """The official BCE of AVVP runs in float32, so do its recorded numbers."""
  g, task, params, codes, official = setting(name, masked)
  ave = name == "probe_ave"
  tolerance = 1e-10 if ave else 1e-6
  optimizer = probe.optimizer(
    float(g["meta/lr"]),
    max_norm=float(g["meta/clip_gradient"]),
    clip_alpha=not ave and bool(g["meta/alpha_gradient_clipped_in_training"]),
  )
  opt_state = optimizer.init(params)
  step = functools.partial(probe.train_step, task=task, optimizer=optimizer)
  batches = []
  for i in range(3):
    where = "in/train" if ave else f"in/train/step{i}"
    vq, labels = g[f"{where}/vq"], g[f"{where}/labels"]
    if ave:
      vq, labels = vq[i], labels[i]
    rows, idx = codes(vq)
    batches.append((rows, Split(idx, label_of(task, labels))))
  total = g["out/train/loss" if ave else "out/train/audio_event_loss"]
  for (rows, batch), expected in zip(batches, total, strict=True):
    params, opt_state, loss = step(params, opt_state, rows, batch)
    close(loss, expected, tolerance)
  theirs = official(g.below("param_after_train"))
  for layer in ("hidden", "outputs"):
    for leaf, x in params[layer].items():
      close(x, theirs[layer][leaf], tolerance, what=f"{layer}/{leaf}")
  if ave:
    return
  close(params["alpha"], g["param_after_train/alpha"], tolerance)
  counts, sizes = [], []
  for rows, batch in batches:
    logits = task.head(params, rows, batch.idx_NxT)
    counts.append(scores.segment_counts(scores.predict(logits), batch.label))
    sizes.append(len(batch.idx_NxT))
  p, r, f1 = scores.released_epoch(counts, sizes)
  close(p, g["out/validate/precision"], 1e-6)
  close(r, g["out/validate/recall"], 1e-6)
  close(f1, g["out/validate/f1"], 1e-6)


def test_accuracy_of_clips():
  g = golden("probe_ave")
  label = scores.released_class(jnp.asarray(g["in/metric/labels"]))
  ratio = scores.accuracy(jnp.asarray(g["in/metric/event_scores"]), label)
  close(100 * scores.value(ratio), g["out/metric/accuracy"])


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("case", ["metric0", "metric1", "metric2"])
def test_precision_and_recall(name, case):
  g = golden(name)
  predicted = scores.predict(jnp.asarray(g[f"in/{case}/logits"]))
  label = jnp.asarray(g[f"in/{case}/labels"])
  counts = scores.segment_counts(predicted, label)
  close(scores.precision(counts), g[f"out/{case}/precision"], 1e-6)
  close(scores.recall(counts), g[f"out/{case}/recall"], 1e-6)


@pytest.mark.parametrize("head", [probe.clip, probe.segment])
def test_masked_training_is_sliced_training(head):
  """Fifty steps in float32, from the same draws on the same minibatches."""
  rng = np.random.default_rng(0)
  K, D, C, B, T = 12, 10, 4, 16, 5
  keep = np.array([0, 2, 3, 7, 9])
  clip = head is probe.clip
  task = (classification if clip else localization).task(C)
  code = jnp.asarray(rng.normal(size=(K, D)), jnp.float32)
  optimizer = probe.optimizer(1e-2, max_norm=0.5)
  masked = jax.tree.map(
    lambda x: x.astype(jnp.float32),
    probe.init(
      jax.random.key(0),
      D,
      C,
      keep_D=np.isin(np.arange(D), keep),
      weighted=task.weighted,
    ),
  )
  sliced = masked | {
    "hidden": {
      "kernel": masked["hidden"]["kernel"][np.ix_(keep, keep)],
      "bias": masked["hidden"]["bias"][keep],
    },
    "outputs": {**masked["outputs"]}
    | {"kernel": masked["outputs"]["kernel"][keep]},
  }
  assert np.abs(sliced["hidden"]["kernel"]).max() <= 1 / np.sqrt(len(keep))
  step = jax.jit(
    functools.partial(probe.train_step, task=task, optimizer=optimizer)
  )
  states = optimizer.init(masked), optimizer.init(sliced)
  zeroed = code * np.isin(np.arange(D), keep).astype(np.float32)
  for _ in range(50):
    idx = jnp.asarray(rng.integers(0, K, (B, T)))
    label = rng.integers(0, C, B)
    if not clip:
      label = np.eye(C, dtype=np.int8)[rng.integers(0, C, (B, T))]
    batch = Split(idx, jnp.asarray(label))
    masked, first, ours = step(masked, states[0], zeroed, batch)
    sliced, second, theirs = step(sliced, states[1], code[:, keep], batch)
    states = first, second
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
  for layer in ("hidden", "outputs"):
    mine = masked[layer]["kernel"][keep]
    mine = mine[:, keep] if layer == "hidden" else mine
    theirs = sliced[layer]["kernel"]
    np.testing.assert_allclose(
      mine, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max()
    )
  rest = np.delete(np.asarray(masked["hidden"]["kernel"]), keep, 0)
  assert not rest.any()
  assert optax.tree.norm(masked) > 0
