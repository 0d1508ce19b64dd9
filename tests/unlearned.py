"""Runs that neither learn nor measure, for tests of what comes after them."""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp

from unirep.jobs import dispatch, pretrain
from unirep.quantizer import codebook as codebooks
from unirep.train import step


def build(training, mesh, *, sharding=None):
  """In the place of `step.build`: it wakes all codes, and learns nothing."""
  del training, mesh, sharding

  @jax.jit
  def wake(state, batch, run_args):
    del batch, run_args
    book = state.codebook
    code_KxD = jax.random.normal(jax.random.key(0), book.code_KxD.shape)
    book = book._replace(
      code_KxD=codebooks.on_sphere(code_KxD), count_K=book.count_K + 1
    )
    state = state._replace(step=state.step + 1, codebook=book)
    return state, {"loss": jnp.zeros(())}

  return wake


def run(config, workdir, console):
  """A run of pretraining on one device, without an evaluation."""
  with contextlib.ExitStack() as patched:
    one = {"return_value": jax.devices()[:1]}
    patched.enter_context(mock.patch.object(jax, "devices", **one))
    patched.enter_context(mock.patch.object(step, "build", build))
    nothing = {"return_value": {}}
    patched.enter_context(mock.patch.object(pretrain, "finish", **nothing))
    dispatch.run(config, workdir, console)
