"""The published probes against recorded float64 arrays, sliced and masked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import Module, compiled
from test_golden import Golden, close

from unirep.tasks import classification, localization
from unirep.tasks.probing import criteria, probe, scores
from unirep.tasks.probing.probe import Split

criteria, scores = map(Module, (criteria, scores))

pytestmark = pytest.mark.usefixtures("x64")

NAMES = ("probe_ave", "probe_avvp", "probe_ave_avvp")
CASES = ("continuous", "quantised")
CLIP_LOG = ("loss", "accuracy")
EVENT_LOG = (
  "audio_event_loss",
  "BCELoss",
  "ExpLogLoss",
  "audio_precision",
  "audio_recall",
)
FLOAT32 = float(np.finfo(np.float32).eps)


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
  """The task, its parameters, and a function: features -> (codes, indices)."""
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
  """The labels of segments as a task takes them.

  Of a clip the released class is the highest, over the segments, of the first
  foreground class of each: that of its event, where there is one.
  """
  labels = jnp.asarray(labels)
  if task.head is probe.clip:
    return labels[..., :-1].argmax(-1).max(-1)
  return localization.Segments(labels, jnp.ones(labels.shape[:2], bool))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_loss_and_gradients(name, case, masked):
  g, task, params, codes, official = setting(name, masked)
  rows, idx = codes(g[f"in/{case}/vq"])
  label = label_of(task, g[f"in/{case}/labels"])
  logits = compiled(task.head)(params, rows, idx)
  expected = g[f"out/{case}/logits"]
  close(logits.reshape(expected.shape), expected)
  wide = "" if task.head is probe.clip else "float64/"
  loss, grads = jax.jit(
    jax.value_and_grad(lambda p: task.loss(p, task.head(p, rows, idx), label))
  )(params)
  close(loss, g[f"out/{case}/{wide}loss"])
  theirs = official(g.below(f"grad/{case}/{wide}param"))
  for layer in ("hidden", "outputs"):
    for leaf, x in grads[layer].items():
      close(x, theirs[layer][leaf], what=f"{layer}/{leaf}")
  assert not masked or outside_is_zero(grads, g)
  if wide:
    counts = counts_of(logits, label)
    close(scores.precision(counts), g[f"out/{case}/precision"], FLOAT32)
    close(scores.recall(counts), g[f"out/{case}/recall"], FLOAT32)
    close(grads["alpha"], g[f"grad/{case}/float64/alpha"])
    plain = criteria.binary_cross_entropy(logits, label.on_NxTxC)
    close(plain, g[f"out/{case}/float64/bce_loss"])
    close(loss - plain, g[f"out/{case}/float64/explog_loss"])
  else:
    np.testing.assert_array_equal(label, g[f"out/{case}/labels_event"])
    accuracy = 100 * scores.value(scores.accuracy(logits, label))
    close(accuracy, g[f"out/{case}/accuracy"])


def outside_is_zero(tree, g):
  """Whether rows and columns of channels that are not seen are exactly 0."""
  out = np.delete(np.arange(96), g["in/indices"].astype(int))
  kernel, bias = (np.asarray(tree["hidden"][n]) for n in ("kernel", "bias"))
  rows = np.asarray(tree["outputs"]["kernel"])[out]
  return not any(
    x.any() for x in (kernel[out], kernel[:, out], bias[out], rows)
  )


def training(g, task, codes):
  """The optimizer and the three batches, each (codes, split)."""
  ave = task.head is probe.clip
  optimizer = probe.optimizer(
    float(g["meta/lr"]),
    max_norm=float(g["meta/clip_gradient"]),
    clip_alpha=not ave and bool(g["meta/alpha_gradient_clipped_in_training"]),
  )
  batches = []
  for i in range(3):
    where = "in/train" if ave else f"in/train/step{i}"
    vq, labels = g[f"{where}/vq"], g[f"{where}/labels"]
    if ave:
      vq, labels = vq[i], labels[i]
    rows, idx = codes(vq)
    batches.append((rows, Split(idx, label_of(task, labels))))
  return optimizer, batches


def counts_of(logits, label):
  label = getattr(label, "on_NxTxC", label)
  return scores.segment_counts(scores.predict(logits), label)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_three_training_steps(name, masked):
  """Losses and parameters are as recorded.

  The official alpha and BCE of AVVP are float32. Values that depend on them
  are compared to its epsilon, and BCE, which is a sum, to two of them.
  `test_three_steps_match_numpy` is in float64.
  """
  g, task, params, codes, official = setting(name, masked)
  ave = name == "probe_ave"
  tolerance = 1e-10 if ave else FLOAT32
  if not ave:
    params["alpha"] = params["alpha"].astype(jnp.float32)
  optimizer, batches = training(g, task, codes)
  opt_state = optimizer.init(params)
  step = jax.jit(
    functools.partial(probe.train_step, task=task, optimizer=optimizer)
  )
  expected = {n: g[f"out/train/{n}"] for n in (CLIP_LOG if ave else EVENT_LOG)}
  for i, (rows, batch) in enumerate(batches):
    logits = compiled(task.head)(params, rows, batch.idx_NxT)
    before = params
    params, opt_state, loss = step(params, opt_state, rows, batch)
    if ave:
      right = scores.accuracy(logits, batch.label)
      found = loss, 100 * scores.value(right)
    else:
      counts = counts_of(logits, batch.label)
      found = (
        loss,
        criteria.binary_cross_entropy(logits, batch.label.on_NxTxC),
        criteria.explog(logits, batch.label.on_NxTxC, before["alpha"]),
        scores.precision(counts),
        scores.recall(counts),
      )
    for (key, theirs), ours in zip(expected.items(), found, strict=True):
      sums = tolerance * (2 if key == "BCELoss" else 1)
      close(ours, theirs[i], sums, f"{key}, step {i}")
    assert not masked or outside_is_zero(params, g)
  theirs = official(g.below("param_after_train"))
  for layer in ("hidden", "outputs"):
    for leaf, x in params[layer].items():
      close(x, theirs[layer][leaf], tolerance, what=f"{layer}/{leaf}")
  if not ave:
    close(params["alpha"], g["param_after_train/alpha"], 1e-10, "alpha")
  validate(g, task, params, batches, tolerance)


def validate(g, task, params, batches, tolerance):
  """Scores after training, on the same batches."""
  outputs = [
    (task.head(params, rows, batch.idx_NxT), batch.label)
    for rows, batch in batches
  ]
  if task.head is probe.clip:
    right = scores.add(scores.accuracy(*x) for x in outputs)
    expected = g["out/validate/accuracy_after_train"]
    close(100 * scores.value(right), expected, tolerance)
    return
  sizes = [len(logits) for logits, _ in outputs]
  assert len(set(sizes)) > 1
  counts = [counts_of(logits, label) for logits, label in outputs]
  counts = jax.tree.map(lambda *x: jnp.stack(x), *counts)
  epoch = scores.released_epoch(counts, jnp.array(sizes))
  for key, ours in zip(("precision", "recall", "f1"), epoch, strict=True):
    close(ours, g[f"out/validate/{key}"], tolerance, key)
  losses = [task.loss(params, *x) for x in outputs]
  mean = np.average(losses, weights=sizes)
  close(mean, g["out/validate/loss"], tolerance, "loss")


@pytest.mark.parametrize("name", NAMES[1:])
def test_three_steps_match_numpy(name):
  """The recorded batches, in float64 throughout."""
  g, task, params, codes, _ = setting(name, False)
  optimizer, batches = training(g, task, codes)
  reference = Reference(params, clip_alpha=name == "probe_ave_avvp")
  opt_state = optimizer.init(params)
  step = jax.jit(
    functools.partial(probe.train_step, task=task, optimizer=optimizer)
  )
  for rows, batch in batches:
    params, opt_state, loss = step(params, opt_state, rows, batch)
    close(
      loss, reference.step(np.asarray(rows), np.asarray(batch.label.on_NxTxC))
    )
  ours = flat(params)
  assert ours.keys() == reference.value.keys()
  for leaf, theirs in reference.value.items():
    close(ours[leaf], theirs, what=leaf)
  assert reference.clipped[0] == 3  # the recorded gradients are large


def flat(params):
  found = {
    f"{layer}/{leaf}": np.array(params[layer][leaf])
    for layer in ("hidden", "outputs")
    for leaf in ("kernel", "bias")
  }
  return found | {"alpha": np.array(params["alpha"])}


class Reference:
  """Segment probe, BCE and ExpLog, clipping at 0.5 and Adam at 4e-4."""

  def __init__(self, params, clip_alpha):
    self.value = flat(params)
    self.first = {n: np.zeros_like(x) for n, x in self.value.items()}
    self.second = {n: np.zeros_like(x) for n, x in self.value.items()}
    self.groups = [[n for n in self.value if n != "alpha"]]
    self.groups += [["alpha"]] if clip_alpha else []
    self.time, self.clipped = 0, (0, 0)

  def step(self, x, y):
    loss, grads = self.gradients(x, y.reshape(len(x), -1).astype(float))
    clipped = [0, 0]
    for i, group in enumerate(self.groups):
      norm = np.sqrt(sum((grads[n] ** 2).sum() for n in group))
      clipped[i] = int(norm > 0.5)
      for n in group:
        grads[n] = grads[n] * min(1, 0.5 / (norm + 1e-6))
    self.clipped = tuple(np.add(self.clipped, clipped).tolist())
    self.time += 1
    for n, grad in grads.items():
      self.first[n] = 0.9 * self.first[n] + 0.1 * grad
      self.second[n] = 0.999 * self.second[n] + 0.001 * grad**2
      m = self.first[n] / (1 - 0.9**self.time)
      v = self.second[n] / (1 - 0.999**self.time)
      self.value[n] = self.value[n] - 4e-4 * m / (np.sqrt(v) + 1e-8)
    return loss

  def gradients(self, x, y):
    p = self.value
    h = x @ p["hidden/kernel"] + p["hidden/bias"]
    z = h @ p["outputs/kernel"] + p["outputs/bias"]
    s = 1 / (1 + np.exp(-z))
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    weight = y * np.exp(-p["alpha"])
    bce = -(y * np.log(s) + (1 - y) * np.log(1 - s)).mean()
    explog = -(weight * log_p).sum() / len(x)
    dz = (s - y) / z.size
    dz += (np.exp(log_p) * weight.sum(1, keepdims=True) - weight) / len(x)
    dh = dz @ p["outputs/kernel"].T
    grads = {
      "hidden/kernel": x.T @ dh,
      "hidden/bias": dh.sum(0),
      "outputs/kernel": h.T @ dz,
      "outputs/bias": dz.sum(0),
      "alpha": (weight * log_p).sum(0) / len(x),
    }
    return bce + explog, grads


def test_accuracy_of_clips():
  g = golden("probe_ave")
  label = label_of(classification.task(2), g["in/metric/labels"])
  ratio = scores.accuracy(jnp.asarray(g["in/metric/event_scores"]), label)
  close(100 * scores.value(ratio), g["out/metric/accuracy"])


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("case", ["metric0", "metric1", "metric2"])
def test_precision_and_recall(name, case):
  g = golden(name)
  predicted = scores.predict(jnp.asarray(g[f"in/{case}/logits"]))
  label = jnp.asarray(g[f"in/{case}/labels"])
  counts = scores.segment_counts(predicted, label)
  close(scores.precision(counts), g[f"out/{case}/precision"], FLOAT32)
  close(scores.recall(counts), g[f"out/{case}/recall"], FLOAT32)


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
  sliced = sliced_of(masked, keep)
  start = np.asarray(sliced["hidden"]["kernel"])
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
      on_BxTxC = np.eye(C, dtype=np.int8)[rng.integers(0, C, (B, T))]
      label = localization.Segments(on_BxTxC, np.ones((B, T), bool))
    batch = Split(idx, jax.tree.map(jnp.asarray, label))
    masked, first, ours = step(masked, states[0], zeroed, batch)
    sliced, second, theirs = step(sliced, states[1], code[:, keep], batch)
    states = first, second
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
  moved = np.abs(sliced["hidden"]["kernel"] - start).max()
  assert moved > 0.05  # fifty steps did something
  ours = sliced_of(masked, keep)
  assert jax.tree.structure(ours) == jax.tree.structure(sliced)
  for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(sliced), strict=True):
    scale = np.abs(y).max()
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-6 * scale)
  gone = np.delete(np.arange(D), keep)
  for rest in (
    masked["hidden"]["kernel"][gone],
    masked["hidden"]["kernel"][:, gone],
    masked["hidden"]["bias"][gone],
    masked["outputs"]["kernel"][gone],
  ):
    assert not np.asarray(rest).any()


def sliced_of(params, keep):
  """The part of the parameters that belongs to the kept dimensions."""
  hidden, outputs = params["hidden"], params["outputs"]
  return params | {
    "hidden": {
      "kernel": hidden["kernel"][np.ix_(keep, keep)],
      "bias": hidden["bias"][keep],
    },
    "outputs": {**outputs, "kernel": outputs["kernel"][keep]},
  }
