"""Whole steps in which samples lack modalities.

Dimensions: B batch, T time, D code width, K codes, R rows.
"""

import functools
import itertools
import math
import types
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from unirep.losses import club, cmcm, cpc, infonce, matching, objective
from unirep.losses import contrast as contrasts
from unirep.losses import reconstruction as restoring
from unirep.losses.base import Draws, LossInputs, filled, fingerprint
from unirep.methods import assignment
from unirep.methods import recipe as recipes
from unirep.methods.dcid import DCID
from unirep.methods.fcid import FCID
from unirep.methods.network import Modality
from unirep.parallel import collectives
from unirep.parallel import mesh as mesh_lib
from unirep.quantizer import codebook as codebooks
from unirep.quantizer import growth
from unirep.train import state as state_lib
from unirep.train import step as step_lib

B, T, D, K, HALF = 16, 4, 8, 12, 8
NAMES = ("left", "right", "motion", "text")
WIDTHS = {"left": 3, "right": 5, "motion": 4, "text": 9}
SIZES = {"dim": D, "heads": 2, "hidden": 16, "dropout": 0.0}


def always_matched(inputs):
  """Matching that counts whatever untrained codes tell apart."""
  return matching.match(inputs)._replace(scale=1.0)


LOSSES = objective.LOSSES | {
  "club": functools.partial(club.pairs, bounded=False),
  "matching": always_matched,
}
CLIPS = ("coarse_reconstruction", "infonce", "step_infonce")  # not in DCID


def half_awake(key, dim, names):
  """So that codes move as well as wake in a single step."""
  book = codebooks.asleep(key, K, dim, names)
  code_KxD = codebooks.on_sphere(jax.random.uniform(key, (K, dim)))
  code_KxD *= jnp.arange(K)[:, None] < K // 2
  count_K = jnp.where(jnp.arange(K) < K // 2, 1.0, 0)
  return book._replace(code_KxD=code_KxD, count_K=count_K, sum_KxD=code_KxD)


def grown(codebook, assignments, key, progress, *, axis_name):
  """As in training, but the best place wins: noise depends on the batch."""
  del progress
  codebook = growth.update(
    codebook, assignments, key, 1.0, until=0.0, axis_name=axis_name
  )
  rows = assignments[0].weight_B.shape[0]
  each = sum(x.weight_B.shape[0] for x in assignments) // rows
  shape = 3, collectives.global_rows(rows, axis_name), each
  return growth.place(
    codebook,
    assignments,
    jnp.zeros(shape),
    threshold=0.0,
    agreed=0.05,
    axis_name=axis_name,
  )


def recipe_of(name, **changes):
  names = [m for m in NAMES if m != "text" or name != "without text"]
  fine = NAMES if name == "dcid" else NAMES[:3]
  make = functools.partial(DCID, front=()) if name == "dcid" else FCID
  weights = dict.fromkeys(LOSSES, 1.0)
  if name == "dcid":
    weights |= dict.fromkeys(CLIPS, 0.0)
  recipe = recipes.Recipe(
    network=make({m: Modality("vector", m in fine, 6) for m in names}, **SIZES),
    losses=LOSSES,
    weights=weights,
    club_optimizer=optax.sgd(1e-3),
    init_codebook=half_awake,
    update_codebook=grown,
    init_cpc=functools.partial(cpc.init, width=6, layers=1),
    init_club=functools.partial(club.init, hidden=6),
    club_rounds=2,
  )
  return recipe._replace(**changes)


def batch_of():
  """Events that modalities share, and some padding.

  No vector of what is there is zero, or as far from two codes: which of them
  is chosen then depends on the processor's way of rounding.
  """
  rng = np.random.default_rng(9)
  event_B = rng.integers(0, 4, B)
  says = {m: 3 * rng.normal(size=(4, 1, w)) for m, w in WIDTHS.items()}
  features = {
    m: says[m][event_B] + rng.normal(size=(B, T, w)) for m, w in WIDTHS.items()
  }
  lengths = {
    "left": rng.integers(2, T + 1, B).astype(np.int32),
    "text": rng.integers(1, T + 1, B).astype(np.int32),
  }
  return {"features": features, "lengths": lengths}


def some_missing():
  """Samples with one, two, three and all modalities."""
  rng = np.random.default_rng(1)
  here = {m: rng.random(B) < 0.6 for m in NAMES}
  here["motion"] |= ~np.any([*here.values()], 0)
  number = np.sum([*here.values()], 0)
  assert {*number} == {1, 2, 3, 4}
  pairs = itertools.combinations(NAMES, 2)
  assert min((here[m] & here[n]).sum() for m, n in pairs) >= 3
  return here


def draws_of(name, rows=B):
  """Negatives that never pair the first half of a batch with the second."""
  permutation = {}
  for pair, parts in recipe_of(name).network.club_rows.items():
    order = np.random.default_rng(parts).permutation(parts * HALF)
    index = np.arange(parts * rows)
    part, row = np.divmod(order, HALF)
    first = np.arange(parts)[:, None] * rows + np.arange(HALF)
    index[first.reshape(-1)] = part * rows + row
    if rows > HALF:
      index[first.reshape(-1) + HALF] = np.roll(first.reshape(-1) + HALF, 1)
    permutation[pair] = index.astype(np.int32)
  return Draws(np.int32(2), permutation, jax.random.key(4))


def training_of(recipe):
  return state_lib.Training(recipes.method(recipe), optax.sgd(1.0))


@functools.cache
def start(name):
  """A first state."""
  training = training_of(recipe_of(name))
  init = functools.partial(state_lib.init, training, batch=batch_of())
  return jax.jit(init)(jax.random.key(0))


@functools.cache
def program(name, devices=1):
  """A step on batches of any form."""
  changes = {}
  if devices > 1:  # what travels must be masked as what is gathered
    changes = {"contrast": contrasts.ring, "rows": collectives.rotated_rows}
  training = training_of(recipe_of(name, **changes))
  axis = mesh_lib.AXIS if devices > 1 else None

  def step(state, batch, draws):
    return step_lib.train_step(
      state, batch, draws, None, 9, training=training, axis_name=axis
    )

  if axis:
    mesh = mesh_lib.make(B, jax.devices()[:devices])
    same = PartitionSpec()
    specs = same, PartitionSpec(axis), same
    step = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=same)
  return jax.jit(step)


def part(batch, rows):
  return jax.tree.map(lambda x: x[rows], batch)


def stepped(name, batch, devices=1):
  """State before, state after and metrics, as NumPy arrays."""
  rows = len(batch["features"]["left"])
  state = start(name)
  after, metrics = program(name, devices)(state, batch, draws_of(name, rows))
  return jax.device_get((state, after, metrics))


def flat(*trees):
  pairs = jax.tree_util.tree_leaves_with_path(trees)
  return {
    jax.tree_util.keystr(path): np.asarray(x)
    for path, x in pairs
    if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  }


def close(ours, theirs, tolerance):
  assert ours.keys() == theirs.keys()
  for key, x in theirs.items():
    scale = max(np.abs(x).max(), 1.0)
    kind = np.result_type(ours[key], np.float16)  # shares are float32
    limit = scale * max(tolerance, np.finfo(kind).eps)
    np.testing.assert_allclose(ours[key], x, rtol=0, atol=limit, err_msg=key)


def garbage(batch):
  """Other values in the place of what is missing."""
  rng = np.random.default_rng(8)
  features = {}
  for m, x in batch["features"].items():
    gone = ~batch["present"][m]
    features[m] = np.where(gone[:, None, None], 9 * rng.normal(size=x.shape), x)
  return {**batch, "features": features}


CASES = pytest.mark.parametrize(
  ("name", "devices"),
  [
    pytest.param("fcid", 1, marks=pytest.mark.slow),
    ("fcid", 8),
    pytest.param("dcid", 1, marks=pytest.mark.slow),
  ],
)


@CASES
def test_what_is_missing_may_hold_anything(name, devices, x64):
  batch = batch_of() | {"present": some_missing()}
  first, second = (stepped(name, x, devices) for x in (batch, garbage(batch)))
  for key, x in flat(*first).items():
    assert np.isfinite(x).all(), key
    np.testing.assert_array_equal(flat(*second)[key], x, err_msg=key)
  # The same garbage counts where it is not missing.
  there = {**garbage(batch), "present": dict.fromkeys(NAMES, np.ones(B, bool))}
  whole = stepped(name, there, devices)[2]
  assert abs(whole["loss"] - first[2]["loss"]) > 1e-3


@CASES
def test_samples_without_anything_are_no_samples(name, devices, x64):
  """The first half of a batch by itself, and with another half that lacks all.

  Losses, gradients (a step is one), CLUB networks, the codebook with the codes
  that wake, and every metric.
  """
  here_B = np.arange(B) < HALF
  batch = garbage(batch_of() | {"present": dict.fromkeys(NAMES, here_B)})
  before, after, metrics = stepped(name, batch, devices)
  _, expected, wanted = stepped(name, part(batch_of(), slice(HALF)))
  assert (expected.codebook.tenure_K == 0).any()
  close(metrics, wanted, 1e-10)
  ours, theirs, old = (
    flat(x.params, x.codebook, x.side) for x in (after, expected, before)
  )
  close(ours, theirs, 1e-10)
  moved = [np.abs(theirs[key] - old[key]).max() > 1e-7 for key in old]
  assert np.mean(moved) > 0.9


@pytest.mark.slow
def test_all_there_is_as_if_nobody_had_asked(x64):
  batch = batch_of()
  whole = batch | {"present": dict.fromkeys(NAMES, np.ones(B, bool))}
  close(
    flat(*stepped("fcid", whole)[1:]), flat(*stepped("fcid", batch)[1:]), 1e-12
  )


@pytest.mark.slow
def test_a_modality_that_nobody_has(x64):
  """It gets no gradient, and the others those of a model without it."""
  batch = batch_of()
  here = {m: np.full(B, m != "text") for m in NAMES}
  before, after, metrics = stepped("fcid", batch | {"present": here})
  still = 0
  for key, x in flat(after.params).items():
    if "text" in key:
      np.testing.assert_array_equal(x, flat(before.params)[key], err_msg=key)
      still += 1
  assert still > 10
  _, expected, wanted = without_text(before, batch)
  del wanted["codebook/used_by_all"]  # text uses none
  close({key: metrics[key] for key in wanted}, wanted, 1e-10)
  params, book = flat(after.params), after.codebook
  close(
    {key: params[key] for key in flat(expected.params)},
    flat(expected.params),
    1e-10,
  )
  close(flat(book[:3]), flat(expected.codebook[:3]), 1e-10)
  np.testing.assert_array_equal(book.tenure_K, expected.codebook.tenure_K)


def without_text(state, batch):
  """A step of the model without text, from what the other one began with."""
  training, own = training_of(recipe_of("without text")), start("without text")
  own = own._replace(
    params=within(state.params, own.params),
    codebook=state.codebook._replace(age=own.codebook.age),
    side=own.side | {"club": within(state.side["club"], own.side["club"])},
  )
  batch = {
    name: {m: x for m, x in values.items() if m != "text"}
    for name, values in batch.items()
  }
  step = functools.partial(step_lib.train_step, training=training, steps=9)
  args = own, batch, draws_of("without text"), None
  return jax.device_get((own, *jax.jit(step)(*args)))


def within(whole, like):
  """The leaves of one mapping that another has as well."""
  if not isinstance(like, Mapping):
    return whole
  return {key: within(whole[key], like[key]) for key in like}


# Each term by itself, from the outputs of the network.


class Known:
  """What the step of `some_missing` should have said, in NumPy's words."""

  def __init__(self, batch, before):
    self.recipe, self.before = recipe_of("fcid"), before
    self.here = batch["present"]
    mask = recipes.padding_mask(batch)
    self.code_KxD, forward = (
      before.codebook.code_KxD,
      jax.jit(self.recipe.network.forward),
    )
    self.out, self.mask = jax.device_get(
      (forward(before.params, self.code_KxD, batch["features"], mask), mask)
    )
    self.text_B = fingerprint(batch["features"]["text"], self.mask["text"])
    # A sample that lacks "left" is as long as any.
    self.length_B = np.where(self.here["left"], batch["lengths"]["left"], T)

  def both(self, *names):
    return np.all([self.here[m] for m in names], 0)

  def distance(self, x_RxD):
    distance_RxK = ((x_RxD[:, None] - self.code_KxD) ** 2).sum(-1)
    return np.where(self.code_KxD.any(1), distance_RxK, codebooks.FAR)

  def assignments(self):
    """Granularity -> (distances, weights, presence), (R, ...) each."""
    out, names = self.out, {"clip": NAMES, "step": NAMES[:3]}
    for name, x in {"clip": out.general, "step": out.general_steps}.items():
      times = T if name == "step" else 1
      here = {m: np.repeat(self.here[m], times) for m in names[name]}
      weight_R = np.ones(B)
      if name == "step":
        weight_R = (np.arange(T) < self.length_B[:, None]).reshape(-1) / T
      rows = {m: self.distance(x[m].reshape(-1, D)) for m in here}
      for m, distance_RxK in rows.items():
        first, second, *_ = np.sort(distance_RxK[here[m]]).T
        assert (second - first).min() > 1e-3
      yield name, rows, weight_R, here


def restored(known):
  for m in NAMES:
    h, out = known.here[m], known.out
    pair = out.coarse_reconstruction[m][h], out.coarse[m][h]
    yield f"coarse_reconstruction/{m}", restoring.reconstruction(*pair)
    if m != "text":
      pair = out.fine_reconstruction[m][h], out.fine_target[m][h]
      kept = known.mask[m][h] if m in known.mask else None
      loss = restoring.reconstruction(*pair, mask_BxT=kept)
      yield f"fine_reconstruction/{m}", loss
    total = 0
    for i in np.flatnonzero(h):
      x, code = out.general[m][i], {n: out.code[n][i] for n in NAMES}
      others = [n for n in NAMES if n != m and known.here[n][i]]
      error = 0.5 * ((x - code[m]) ** 2).mean()
      for n in others:
        error += 0.25 / len(others) * ((x - code[n]) ** 2).mean()
      total += error / h.sum()
    yield f"commitment/{m}", total


def contrasted(known):
  out = known.out
  start_B = 1 + np.maximum(known.length_B - 2, 0) // 2  # of start 2 among T = 4
  valid_B = start_B + 1 < known.length_B
  assert draws_of("fcid").start == 2
  cmcms, ignorance = 0, 0
  for m, n in itertools.combinations(NAMES, 2):
    both = known.both(m, n)
    if n == "text":
      pair = out.general[m][both], out.general[n][both]
      loss = infonce.infonce(*pair, group_B=known.text_B[both])
      yield f"infonce/{m}-{n}", loss
    else:
      there = np.flatnonzero(both & valid_B)
      pair = (out.general_steps[x][there, start_B[there] + 1] for x in (m, n))
      yield f"step_infonce/{m}-{n}", infonce.infonce(*pair)
    p, q = (
      cmcm.cosine_distribution(known.distance(out.general[x][both]), D)
      for x in (m, n)
    )
    loss = cmcm.cmcm(p, q)
    yield f"cmcm/{m}-{n}", loss / 2
    cmcms, ignorance = cmcms + loss, ignorance + math.log(both.sum())
  yield "codebook/trust", np.clip(1 - cmcms / ignorance, 0, 1)
  total, weights = 0, 0
  for m, n in itertools.product(NAMES[:3], NAMES[:3]):
    there = np.flatnonzero(known.both(m, n) & valid_B)
    guess = cpc.predict(
      known.before.params["cpc"][m], out.tokens[m][:, : T - 1]
    )
    guess = np.asarray(guess)[there, start_B[there]]
    future = out.tokens[n][there, start_B[there] + 1]
    loss_B, right_B = contrasts.dense(future, guess)
    weight = 0.1 if m == n else 1.0
    total, weights = total + weight * loss_B.mean(), weights + weight
    yield f"cpc_accuracy/{m}->{n}", np.asarray(right_B).mean()
  yield "cpc/left+right+motion", total / weights


def chosen(known):
  for name, rows, weight_R, here in known.assignments():
    total_RxK = sum(np.where(here[m][:, None], x, 0) for m, x in rows.items())
    losses = []
    for m, distance_RxK in rows.items():
      log_p_RxK = jax.nn.log_softmax(-distance_RxK / (2 * D * 0.1))
      loss_R = -log_p_RxK[np.arange(len(weight_R)), total_RxK.argmin(1)]
      losses.append(np.average(loss_R, weights=weight_R * here[m]))
    yield f"matching/{name}", np.mean(losses)
    for m, n in itertools.combinations(rows, 2):
      same_R = rows[m].argmin(1) == rows[n].argmin(1)
      share = np.average(same_R, weights=weight_R * here[m] * here[n])
      yield f"agreement/{name}/{m}-{n}", share
    if name == "clip":
      used = {m: {*rows[m].argmin(1)[here[m]]} for m in NAMES}
      for m, codes in used.items():
        yield f"codebook/used/{m}", len(codes) / K
      yield "codebook/used", len(set.union(*used.values())) / K
      yield "codebook/used_by_all", len(set.intersection(*used.values())) / K


def separated(known):
  out, before, pairs = known.out, known.before, {}
  for m in NAMES[:3]:
    pairs[f"fine/{m}"] = [m], out.tokens, out.summary
  for group in (NAMES[:3], NAMES[3:]):
    name = "coarse/" + "+".join(group)
    pairs[name] = group, out.general, out.coarse_specific
  for name, (members, x, y) in pairs.items():
    there = [known.here[m] for m in members]
    masks = [np.ones(x[m].shape[:-1], bool) for m in members]
    if name in ("fine/left", "fine/text"):
      masks = [known.mask[m] for m in members]
    kept = club.Pair(
      *(
        tuple(part[h] for part, h in zip(parts, there, strict=True))
        for parts in ([x[m] for m in members], [y[m] for m in members], masks)
      )
    )
    nets, _, gains = club.fit(
      {name: before.side["club"][name]},
      before.side["club_opt_state"],
      {name: kept},
      known.recipe.club_optimizer,
      rounds=2,
    )
    yield f"club_log_likelihood/{name}", gains[name][-1]
    long_x, long_y = (np.concatenate([z[m] for m in members]) for z in (x, y))
    counts = np.concatenate(
      [
        k & h.reshape(-1, *[1] * (k.ndim - 1))
        for k, h in zip(masks, there, strict=True)
      ]
    )
    other = draws_of("fcid").permutation[name]
    mean, log_variance = club.apply(nets[name], long_x)
    gap = (mean - long_y[other]) ** 2 - (mean - long_y) ** 2
    gap = (gap / (2 * np.exp(log_variance))).mean(-1)
    yield f"club/{name}", np.average(gap, weights=counts & counts[other])


def test_each_term_is_that_of_the_rows_that_are_there(x64):
  """Every loss is compared with the plain one of what has not been left out."""
  batch = batch_of() | {"present": some_missing()}
  before, _, metrics = stepped("fcid", garbage(batch), devices=8)
  known = Known(batch, before)
  expected = {
    name: np.asarray(value)
    for terms in (restored, contrasted, chosen, separated)
    for name, value in terms(known)
  }
  losses = {k: x for k, x in expected.items() if k.split("/")[0] in LOSSES}
  expected["loss"] = sum(losses.values())
  rest = {k for k in metrics if k not in expected}
  assert {k.split("/")[0] for k in rest} == {
    "club_fit",
    "grad_norm",
    "codebook",
  }
  close({k: metrics[k] for k in expected}, expected, 1e-9)


def trust(general, code_KxD, present):
  """What CMCM says of clips that lie where `general` says."""
  rows = assignment.clips(general, code_KxD, present=present)
  inputs = LossInputs(
    order=tuple(general),
    fine=(),
    outputs=types.SimpleNamespace(general=general),
    mask={},
    assignments={"clip": rows},
    pairs={},
    networks={},
    draws=None,
    groups={},
    distribution=cmcm.cosine_distribution,
    present=filled(present, general),
  )
  return float(cmcm.trust(inputs))


def test_codes_are_trusted_by_the_pairs_that_there_are(x64):
  rng = np.random.default_rng(0)
  code_KxD = codebooks.on_sphere(rng.random((K, D)))
  said_BxD = np.asarray(code_KxD)[np.arange(B) % K]
  general = {
    m: codebooks.on_sphere(said_BxD + rng.random((B, D)) / 3) for m in NAMES
  }
  here = some_missing()
  losses, logs = [], []
  for m, n in itertools.combinations(NAMES, 2):
    both = here[m] & here[n]
    p, q = (
      cmcm.cosine_distribution(
        codebooks.distances(code_KxD, general[x][both]), D
      )
      for x in (m, n)
    )
    losses.append(float(cmcm.cmcm(p, q)))
    logs.append(math.log(both.sum()))
  expected = 1 - np.mean(losses) / np.mean(logs)
  assert 0.1 < expected < 0.9
  ours = trust(general, code_KxD, here)
  np.testing.assert_allclose(ours, expected, rtol=1e-12)
  # Of a modality that nobody has it says nothing; and nothing without pairs.
  less = {m: x for m, x in general.items() if m != "text"}
  np.testing.assert_allclose(
    trust(general, code_KxD, {"text": np.zeros(B, bool)}),
    trust(less, code_KxD, {}),
    rtol=1e-12,
  )
  alone = {m: np.arange(B) % len(NAMES) == i for i, m in enumerate(NAMES)}
  assert trust(general, code_KxD, alone) == 0
