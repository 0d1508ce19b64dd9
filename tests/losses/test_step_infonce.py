"""Every step against all others: what counts, and on how many devices."""

import jax.numpy as jnp
import numpy as np
import pytest
from compiled import Module

from unirep.losses import infonce
from unirep.losses.base import Draws, LossInputs, Outputs, filled

infonce = Module(infonce)

B, T, D = 4, 5, 8


def inputs_of(mask=None, present=None, seed=0):
  rng = np.random.default_rng(seed)
  rows = {m: jnp.asarray(rng.normal(size=(B, T, D))) for m in ("a", "b")}
  empty = {name: {} for name in Outputs._fields}
  return LossInputs(
    order=("a", "b"),
    fine=("a", "b"),
    outputs=Outputs(**{**empty, "general_steps": rows}),
    mask=mask or {},
    assignments={},
    pairs={},
    networks={},
    draws=Draws(jnp.int32(2), {}, None),
    groups={},
    distribution=lambda x: x,
    present=filled(present, rows),
  )


def reference(inputs, valid_BxT, temperature):
  """Symmetric cross-entropy of cosines over all valid steps of all clips."""
  a, b = (
    np.asarray(inputs.outputs.general_steps[m])[valid_BxT] for m in ("a", "b")
  )
  a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
  logits = a @ b.T / temperature
  total = 0.0
  for x in (logits, logits.T):
    total -= np.mean(np.diag(x) - np.log(np.exp(x).sum(1)))
  return total / 2


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("lacking", [False, True])
def test_all_steps_that_are_there(masked, lacking, x64):
  valid_BxT, mask, present = np.ones((B, T), bool), {}, {}
  if masked:
    valid_BxT[1, 3:] = valid_BxT[2, 1:] = False
    mask = {"b": jnp.asarray(valid_BxT)}
  if lacking:
    present = {"a": jnp.array([True, True, True, False])}
    valid_BxT = valid_BxT & np.array([True, True, True, False])[:, None]
  inputs = inputs_of(mask, present)
  loss = infonce.steps(inputs, every=True, temperature=0.5, symmetric=True)
  expected = reference(inputs, valid_BxT, 0.5)
  np.testing.assert_allclose(loss.parts["a-b"], expected, rtol=1e-10)


def test_one_step_is_the_one_that_cpc_predicts(x64):
  inputs = inputs_of()
  loss = infonce.steps(inputs, temperature=0.5, symmetric=True)
  only = np.zeros((B, T), bool)
  only[:, 3] = True
  np.testing.assert_allclose(
    loss.parts["a-b"], reference(inputs, only, 0.5), rtol=1e-10
  )
