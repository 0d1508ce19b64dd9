"""Losses of probes against loops in NumPy and recorded arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import Module
from test_golden import Golden, close

from unirep.tasks.probing import criteria

criteria = Module(criteria)

N, T, C = 5, 3, 4

pytestmark = pytest.mark.usefixtures("x64")


def arrays(seed=0):
  rng = np.random.default_rng(seed)
  return {
    "logits": 2 * rng.normal(size=(N, T, C)),
    "label": (rng.random((N, T, C)) < 0.4).astype(np.int8),
    "alpha": rng.normal(size=C),
    "mask": rng.random((N, T)) < 0.6,
    "class": rng.integers(0, C, N),
  }


def log_softmax(z_C):
  return z_C - np.log(np.exp(z_C).sum())


def bce_of_row(z_C, y_C):
  p_C = 1 / (1 + np.exp(-z_C))
  return -sum(np.log(p_C[c] if y_C[c] else 1 - p_C[c]) for c in range(C)) / C


def explog_of_row(z_C, y_C, alpha_C):
  log_p_C = log_softmax(z_C)
  return -sum(y_C[c] * log_p_C[c] * np.exp(-alpha_C[c]) for c in range(C))


def mean_over(rows, of_row):
  return sum(of_row(n, t) for n, t in rows) / len(rows)


def places(mask=None):
  everywhere = np.ones((N, T), bool) if mask is None else mask
  return list(zip(*np.nonzero(everywhere), strict=True))


@pytest.mark.parametrize("masked", [False, True])
def test_losses_of_rows_match_a_loop(masked):
  a = arrays()
  z, y, alpha = a["logits"], a["label"], a["alpha"]
  mask = a["mask"] if masked else None
  rows = places(mask)
  assert 0 < len(rows) < N * T or not masked
  np.testing.assert_allclose(
    criteria.binary_cross_entropy(z, y, mask),
    mean_over(rows, lambda n, t: bce_of_row(z[n, t], y[n, t])),
    rtol=1e-12,
  )
  np.testing.assert_allclose(
    criteria.explog(z, y, alpha, mask),
    mean_over(rows, lambda n, t: explog_of_row(z[n, t], y[n, t], alpha)),
    rtol=1e-12,
  )


@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropy_matches_a_loop(masked):
  a = arrays()
  z, label, mask = a["logits"][:, 0], a["class"], a["mask"][:, 0]
  rows = np.flatnonzero(mask) if masked else np.arange(N)
  assert rows.size < N or not masked
  expected = -np.mean([log_softmax(z[n])[label[n]] for n in rows])
  ours = criteria.cross_entropy(z, label, mask if masked else None)
  np.testing.assert_allclose(ours, expected, rtol=1e-12)


def losses(a, mask_NxT):
  """Each loss as a function of the logits, on the rows of the mask."""
  label, alpha = a["label"], a["alpha"]
  return {
    "bce": lambda z: criteria.binary_cross_entropy(z, label, mask_NxT),
    "explog": lambda z: criteria.explog(z, label, alpha, mask_NxT),
    "ce": lambda z: criteria.cross_entropy(z[:, 0], a["class"], mask_NxT[:, 0]),
  }


@pytest.mark.parametrize("name", ["bce", "explog", "ce"])
def test_masked_rows_have_no_share(name):
  """Their logits change neither the loss nor its gradient."""
  a = arrays()
  loss = jax.value_and_grad(losses(a, a["mask"])[name])
  value, grad = loss(a["logits"])
  noise = np.where(a["mask"][..., None], 0, 50.0)
  other, other_grad = loss(a["logits"] + noise)
  assert value == other
  np.testing.assert_array_equal(grad, other_grad)
  assert not np.asarray(grad)[~a["mask"]].any()
  counted = a["mask"] & a["label"].any(-1) if name == "explog" else a["mask"]
  columns = 1 if name == "ce" else T
  share = np.abs(np.asarray(grad)).sum(-1)[:, :columns]
  assert (share[counted[:, :columns]] > 0).all()


def test_without_rows_a_loss_is_zero():
  a = arrays()
  for name, loss in losses(a, np.zeros((N, T), bool)).items():
    value, grad = jax.value_and_grad(loss)(a["logits"])
    assert value == 0, name
    assert not np.asarray(grad).any(), name


def test_alpha_only_rises():
  """Its gradient is the loss of its class, with the sign turned."""
  a = arrays()
  z, y, alpha = a["logits"], a["label"].copy(), a["alpha"]
  y[..., 2] = 0  # a class that never occurs
  grad_C = jax.grad(criteria.explog, 2)(z, y, alpha)
  expected_C = np.zeros(C)
  for n, t in places():
    log_p_C = log_softmax(z[n, t])
    expected_C += y[n, t] * log_p_C * np.exp(-alpha) / (N * T)
  np.testing.assert_allclose(grad_C, expected_C, rtol=1e-12)
  assert (np.asarray(grad_C)[[0, 1, 3]] < 0).all()
  assert grad_C[2] == 0


def test_losses_stay_finite():
  z = jnp.array([[1e4, -1e4, 0.0]])
  y = jnp.array([[0, 1, 1]])
  # -log of a probability of exp(-1e4), twice, and log 2.
  expected = (2e4 + np.log(2)) / 3
  bce = criteria.binary_cross_entropy(z, y)
  np.testing.assert_allclose(bce, expected, rtol=1e-12)
  # log softmax is -2e4 and -1e4 for the classes that are on.
  explog = criteria.explog(z, y, jnp.full(3, 0.1))
  np.testing.assert_allclose(explog, 3e4 * np.exp(-0.1), rtol=1e-12)
  for loss in (
    lambda z: criteria.binary_cross_entropy(z, y),
    lambda z: criteria.explog(z, y, jnp.full(3, 0.1)),
    lambda z: criteria.cross_entropy(z, jnp.array([1])),
  ):
    assert jnp.isfinite(jax.grad(loss)(z)).all()


@pytest.mark.parametrize("case", ["continuous", "quantised"])
@pytest.mark.parametrize("name", ["probe_avvp", "probe_ave_avvp"])
def test_golden_losses_of_segments(name, case):
  golden = Golden(name)
  labels = golden[f"in/{case}/labels"]
  logits = golden[f"out/{case}/logits"].reshape(labels.shape)
  alpha = np.full(labels.shape[-1], float(golden["meta/alpha_init"]))
  bce = criteria.binary_cross_entropy(logits, labels)
  explog = criteria.explog(logits, labels, alpha)
  close(bce, golden[f"out/{case}/float64/bce_loss"])
  close(explog, golden[f"out/{case}/float64/explog_loss"])
  close(bce + explog, golden[f"out/{case}/float64/loss"])


@pytest.mark.parametrize("case", ["continuous", "quantised"])
def test_golden_loss_of_clips(case):
  golden = Golden("probe_ave")
  logits, label = (
    golden[f"out/{case}/{n}"] for n in ("logits", "labels_event")
  )
  close(criteria.cross_entropy(logits, label), golden[f"out/{case}/loss"])
