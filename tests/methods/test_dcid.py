"""DCID as released against NumPy, where its formulas are not FCID's.

Dimensions: B samples, T time, D code width, K codes, Y width of y in CLUB.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.configs import pretrain
from unirep.configuration import build
from unirep.data import pipeline
from unirep.data.procedural.synthetic import SyntheticEvents
from unirep.losses import cpc
from unirep.methods import recipe as recipes
from unirep.nn.recurrent import BiLSTM
from unirep.quantizer import mm_ema

B, MODALITIES = 6, ("video", "audio", "text")


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def lstm_loops(params, x_TxF):
  """One row, gates i, f, g, o."""
  kernel, recurrent = params["in_kernel"], params["state_kernel"]
  bias = params["in_bias"] + params["state_bias"]
  h = c = np.zeros(recurrent.shape[0])
  rows = []
  for x in x_TxF:
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    rows.append(h)
  return np.stack(rows)


def bilstm_loops(params, x_BxTxF):
  for i in range(2):
    x_BxTxF = np.stack(
      [
        np.concatenate(
          [
            lstm_loops(params[f"lstm{i}"], x),
            lstm_loops(params[f"lstm{i}_back"], x[::-1])[::-1],
          ],
          -1,
        )
        for x in x_BxTxF
      ]
    )
  return x_BxTxF


def test_the_front_reads_both_ways():
  x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
  layer = BiLSTM(6)
  params = layer.init(jax.random.key(0), x)["params"]
  found = layer.apply({"params": params}, x)
  expected = bilstm_loops(jax.tree.map(np.asarray, params), x)
  np.testing.assert_allclose(found, expected, atol=1e-6)


class Step:
  """One step's loss and update, and what it was computed from."""

  def __init__(self):
    config = pretrain.get_config("method=dcid,preset=released,size=tiny")
    config.codebook.size = 12
    config.codes.bound = 1.0  # so that rows choose several codes
    self.recipe = build.recipe(config)
    network = self.recipe.network
    source = SyntheticEvents(split="train", size=B)
    self.batch = pipeline.stack([source[i] for i in range(B)])
    keys = jax.random.split(jax.random.key(3), 2)
    method = recipes.method(self.recipe)
    self.draws = method.draw(keys[1], self.batch, B)

    @jax.jit
    def everything(batch):
      params, book, side = method.init(keys[0], batch)
      total, aux = method.loss(params, book, side, batch, self.draws, None)
      zero = jnp.zeros(())
      after, _ = method.update(book, aux.assignments, self.draws, zero)
      outputs = network.forward(params, book.code_KxD, batch["features"])
      return params, book, total, aux, after, outputs

    batch = {"features": self.batch["features"]}
    params, book, self.total, self.aux, self.after, outputs = everything(batch)
    arrays = params, book, outputs, self.aux.side["club"]
    self.params, self.book, self.outputs, self.nets = jax.tree.map(
      np.asarray, arrays
    )

  def term(self, name):
    return float(self.aux.metrics[name])


@pytest.fixture(scope="module")
def step():
  with jax.default_matmul_precision("highest"):
    return Step()


def test_every_second_of_every_modality_has_the_nearest_code(step):
  code_KxD = step.book.code_KxD
  for m in MODALITIES:
    z_BxTxD = step.outputs.tokens[m]
    assert z_BxTxD.shape[:2] == (B, 10)
    for b, t in itertools.product(range(B), range(10)):
      nearest = ((code_KxD - z_BxTxD[b, t]) ** 2).sum(-1).argmin()
      assert step.outputs.idx[m][b, t] == nearest
    np.testing.assert_array_equal(step.outputs.general[m], z_BxTxD)
    np.testing.assert_array_equal(
      step.outputs.code[m], code_KxD[step.outputs.idx[m]]
    )
  assert len({*np.stack([*step.outputs.idx.values()]).ravel()}) > 3


def test_text_is_restored_as_the_front_has_read_it(step):
  text = np.asarray(step.batch["features"]["text"])
  front = jax.tree.map(np.asarray, step.params["encoder"]["front"]["text"])
  target = bilstm_loops(front, text)
  np.testing.assert_allclose(
    step.outputs.fine_target["text"], target, atol=1e-5
  )
  for m in MODALITIES:
    target = step.outputs.fine_target[m]
    error = ((step.outputs.fine_reconstruction[m] - target) ** 2).mean()
    assert step.term(f"fine_reconstruction/{m}") == pytest.approx(
      error, rel=1e-4
    )


def test_commitment_divides_the_others_share(step):
  """Half for the own code, an eighth for each of two others."""
  z, code = step.outputs.general, step.outputs.code
  for m in MODALITIES:
    expected = 0.5 * ((z[m] - code[m]) ** 2).mean()
    for n in {*MODALITIES} - {m}:
      expected += 0.125 * ((z[m] - code[n]) ** 2).mean()
    assert step.term(f"commitment/{m}") == pytest.approx(expected, rel=1e-4)


def test_cmcm_compares_means_over_time(step):
  p = {}
  for m in MODALITIES:
    gap = step.outputs.general[m][:, :, None] - step.book.code_KxD
    logits = -np.sqrt((gap**2).sum(-1))
    each = np.exp(logits - logits.max(-1, keepdims=True))
    p[m] = (each / each.sum(-1, keepdims=True)).mean(1)
  for m, n in itertools.combinations(MODALITIES, 2):
    log_m, log_n = np.log(p[m] + 1e-10), np.log(p[n] + 1e-10)
    S = p[m] @ log_n.T + p[n] @ log_m.T  # the second term is not transposed
    G = np.exp(S + (-S).max())
    expected = -np.log(np.diag(G) / (G.sum(1) + 1e-5)).mean()
    found = step.term(f"cmcm/{m}-{n}")
    assert found == pytest.approx(expected / 2, abs=1e-5)


def test_cpc_contrasts_all_pairs(step):
  """Six terms of weight 1 and three, of a modality with itself, of 0.1."""
  start, z = int(step.draws.start), step.outputs.tokens
  guess = {
    m: np.asarray(cpc.predict(step.params["cpc"][m], z[m]))[:, start]
    for m in MODALITIES
  }
  expected = 0
  for source, target in itertools.product(MODALITIES, MODALITIES):
    score = z[target][:, start + 1] @ guess[source].T
    log_p = score - np.log(np.exp(score).sum(1, keepdims=True))
    expected -= (0.1 if source == target else 1) * np.diag(log_p).mean()
  found = step.term("cpc/" + "+".join(MODALITIES))
  assert found == pytest.approx(expected, rel=1e-4)


def test_club_judges_codes(step):
  """Variance averaged over time first, one permutation of the samples."""

  def mlp(net, name, x):
    for i in range(4):
      x = (x if i == 0 else np.maximum(x, 0)) @ net[f"{name}{i}"]["kernel"]
      x = x + net[f"{name}{i}"]["bias"]
    return x

  for m in MODALITIES:
    net, x = step.nets[m], step.outputs.code[m]
    y_BxTxY = step.outputs.summary[m]
    mean = mlp(net, "mean", x)
    variance = np.exp(np.tanh(mlp(net, "log_variance", x)).mean(1))
    other = y_BxTxY[np.asarray(step.draws.permutation[m])]
    gap = ((mean - other) ** 2).mean(1) - ((mean - y_BxTxY) ** 2).mean(1)
    expected = (gap / variance).sum(-1).mean() / 2
    assert step.term(f"club/{m}") == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_total_is_the_sum_of_all_terms(step):
  """Every weight is 1; what FCID has beside these is not there."""
  terms = {
    name: float(x)
    for name, x in step.aux.metrics.items()
    if name.split("/")[0]
    in ("fine_reconstruction", "commitment", "cmcm", "cpc", "club")
  }
  assert len(terms) == 3 + 3 + 3 + 1 + 3
  assert float(step.total) == pytest.approx(sum(terms.values()), rel=1e-5)
  kinds = {name.split("/")[0] for name in step.aux.metrics}
  assert not kinds & {"coarse_reconstruction", "infonce", "step_infonce"}


def test_codes_move_by_all_modalities_in_order(step):
  """A row pulls its code by half, the two rows beside it by a quarter each."""
  z = {m: x.reshape(-1, x.shape[-1]) for m, x in step.outputs.general.items()}
  idx = {m: x.reshape(-1) for m, x in step.outputs.idx.items()}
  K = len(step.book.code_KxD)
  count, total = np.zeros(K), step.book.sum_KxD.astype(float)
  for m in MODALITIES:
    chosen = np.eye(K)[idx[m]]
    count = 0.99 * count + 0.01 * chosen.sum(0)
    n = count.sum()
    count = (count + 1e-5) / (n + K * 1e-5) * n
    pulled = 0.5 * z[m] + sum(0.25 * z[n] for n in MODALITIES if n != m)
    total = 0.99 * total + 0.01 * chosen.T @ pulled
  np.testing.assert_allclose(step.after.count_K, count, rtol=1e-4, atol=1e-7)
  np.testing.assert_allclose(step.after.sum_KxD, total, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
    step.after.code_KxD, total / count[:, None], rtol=1e-3
  )


def test_a_restarted_code_lies_around_its_parent(step):
  """Uniform noise of 1/1024 in the place of FCID's shift."""
  config = pretrain.get_config("method=dcid,preset=released")
  assert config.codes.spread == 1 / 1024
  assert config.codes.restart.offset == 0
  fcid = pretrain.get_config("preset=released").codes
  assert (fcid.restart.offset, "spread" in fcid) == (-1 / 1024, False)
  K = len(step.book.code_KxD)
  old = jnp.where(jnp.arange(K) < 3, 301, 200).astype(jnp.int32)
  age = dict.fromkeys(MODALITIES, old)
  rows = step.aux.assignments["step"]
  alone = {m: jnp.full_like(x, 5) for m, x in rows.idx.items()}  # one in use
  after = mm_ema.update(
    step.book._replace(age=age),
    [rows._replace(idx=alone)],
    jax.random.key(0),
    jnp.zeros(()),
    modalities=MODALITIES,
    ema=config.codes.ema,
    restart=config.codes.restart,
    spread=config.codes.spread,
  )
  noise = np.asarray(after.code_KxD)[:3] - np.asarray(after.code_KxD)[5]
  assert (abs(noise) <= 1 / 1024 + 1e-6).all()
  assert noise.std() == pytest.approx(1 / 1024 / np.sqrt(3), rel=0.3)
  assert abs(noise.mean()) < 3e-4
