"""Networks run on any number of inputs, compiled for few."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.extract import networks
from unirep.extract.networks import Depthwise


def test_few_sizes_are_compiled():
  sizes = []

  def apply(params, x_NxD, y_N):
    sizes.append(len(x_NxD))
    return x_NxD * params["scale"] + y_N[:, None]

  run = networks.run(apply, {"scale": np.float32(3)}, 16)
  rng = np.random.default_rng(0)
  for count in range(1, 40):
    x = rng.normal(size=(count, 5)).astype(np.float32)
    y = rng.normal(size=count).astype(np.float32)
    np.testing.assert_allclose(run(x, y), 3 * x + y[:, None], rtol=1e-6)
  assert sorted(sizes) == [1, 2, 4, 8, 12, 16]


def test_products_are_not_rounded():
  """The program asks for it, where an accelerator would not by itself."""

  def apply(params, x):
    return jax.lax.dot(x, params)

  seen = []
  run = networks.run(
    lambda p, x: seen.append(jax.make_jaxpr(apply)(p, x)) or apply(p, x),
    np.ones((4, 4), np.float32),
    4,
  )
  run(np.ones((4, 4), np.float32))
  assert "HIGHEST" in str(seen[0])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (1, 4)])
def test_depthwise_is_a_grouped_convolution(size, stride, shape):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *shape, 6)).astype(np.float32)
  kernel = rng.normal(size=(size, size, 1, 6)).astype(np.float32)
  bias = rng.normal(size=6).astype(np.float32)
  expected = bias + jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=6,
  )
  params = {"params": {"kernel": kernel, "bias": jnp.array(bias)}}
  found = Depthwise(size, stride).apply(params, x)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
