"""Functions compiled as wholes.

Operation by operation, most of a test's time would be the compiler's, and it
would not test what is run in training.
"""

import functools

import jax
import numpy as np


@functools.cache
def compiled(function):
  """The function, with arrays traced and all else constant."""

  @functools.partial(jax.jit, static_argnums=(0, 1))
  def run(treedef, constants, arrays):
    arrays = iter(arrays)
    leaves = [next(arrays) if c is jax.Array else c for c in constants]
    args, keywords = jax.tree.unflatten(treedef, leaves)
    return function(*args, **keywords)

  @functools.wraps(function)
  def call(*args, **keywords):
    leaves, treedef = jax.tree.flatten((args, keywords))
    traced = [
      isinstance(x, jax.Array | np.ndarray | np.generic) for x in leaves
    ]
    return run(
      treedef,
      tuple(jax.Array if t else x for t, x in zip(traced, leaves, strict=True)),
      [x for t, x in zip(traced, leaves, strict=True) if t],
    )

  return call


class Module:
  """A module whose functions are compiled; all else in it is as it was."""

  def __init__(self, module):
    self._module = module

  def __getattr__(self, name):
    found = getattr(self._module, name)
    is_function = callable(found) and not isinstance(found, type)
    return compiled(found) if is_function else found
