"""Modalities of any number and kind through the same lines."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unirep.losses import club as club_lib
from unirep.losses import cmcm, cpc, matching, objective
from unirep.losses.base import LossInputs, filled
from unirep.methods import assignment
from unirep.methods import recipe as recipes
from unirep.methods.fcid import FCID
from unirep.methods.network import Modality
from unirep.methods.recipe import padding_mask
from unirep.nn import decoders
from unirep.quantizer import codebook as codebook_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib

B, D, K = 6, 8, 12
SIZES = {"dim": D, "heads": 2, "hidden": 16, "dropout": 0.0}
MODELS = {
  "two": {
    "image": Modality("grid", True, 16),
    "spectrum": Modality("vector", True, 8),
  },
  "three": {
    "video": Modality("grid", True, 16),
    "audio": Modality("sequence", True, 8),
    "text": Modality("sequence", False),
  },
  "five": {
    "touch": Modality("vector", False),
    "audio": Modality("vector", True, 8),
    "video": Modality("grid", True, 16),
    "motion": Modality("vector", True, 6),
    "text": Modality("sequence", False),
  },
  "plain": {  # compiles fast
    "left": Modality("vector", True, 6),
    "right": Modality("vector", True, 6),
    "text": Modality("vector", False),
  },
}
SHAPES = {
  "image": (1, 5, 6, 6),
  "spectrum": (1, 7),
  "video": (4, 5, 5, 6),
  "audio": (4, 7),
  "motion": (4, 5),
  "text": (3, 9),
  "touch": (1, 3),
  "left": (4, 3),
  "right": (4, 5),
}
LENGTHS = {  # where padding is known
  "video": [2, 4, 4, 4, 3, 4],
  "audio": [4, 3, 4, 4, 4, 4],
  "text": [3, 1, 2, 3, 2, 1],
}


def model_of(name, **changes):
  return FCID(MODELS[name], **(SIZES | changes))


def batch_of(model, seed=0):
  rng = np.random.default_rng(seed)
  features = {
    m: rng.normal(size=(B, *SHAPES[m])).astype(np.float32) for m in model.order
  }
  lengths = {
    m: np.array(LENGTHS[m], np.int32) for m in model.order if m in LENGTHS
  }
  return {"features": features, "lengths": lengths}


LOSSES = objective.LOSSES | {
  "club": functools.partial(club_lib.pairs, bounded=False)
}
WEIGHTS = dict.fromkeys(LOSSES, 1.0) | {"commitment": 0.0}


def half_awake(key, dim, names):
  """So that codes move as well as wake in a single step."""
  book = codebook_lib.asleep(key, K, dim, names)
  code_KxD = codebook_lib.on_sphere(jax.random.uniform(key, (K, dim)))
  code_KxD *= jnp.arange(K)[:, None] < K // 2
  count_K = jnp.where(jnp.arange(K) < K // 2, 1.0, 0)
  return book._replace(code_KxD=code_KxD, count_K=count_K, sum_KxD=code_KxD)


def recipe_of(model):
  """The clean defaults, with descent: a step is the gradient itself.

  CLUB is left unbounded, or what only it trains might stand still.
  """
  return recipes.Recipe(
    network=model,
    losses=LOSSES,
    weights=WEIGHTS,
    club_optimizer=optax.sgd(1e-3),
    init_codebook=half_awake,
    init_cpc=functools.partial(cpc.init, width=6, layers=1),
    init_club=functools.partial(club_lib.init, hidden=6),
    club_rounds=2,
  )


def training_of(recipe):
  return state_lib.Training(recipes.method(recipe), optax.sgd(1.0))


@functools.cache
def programs(name):
  """Recipe, batch, and what makes a first state, draws and a step."""
  model = model_of(name)
  recipe, batch = recipe_of(model), batch_of(model)
  training = training_of(recipe)
  init = functools.partial(state_lib.init, training, batch=batch)
  draw = functools.partial(recipes.draw, recipe, batch=batch, rows=B)
  step = functools.partial(step_lib.train_step, training=training, steps=10)
  return recipe, batch, jax.jit(init), jax.jit(draw), jax.jit(step)


@functools.cache
def compiled(name):
  """Recipe, first state, batch, draws and the compiled step."""
  recipe, batch, init, draw, step = programs(name)
  state, draws = init(jax.random.key(0)), draw(key=jax.random.key(1))
  return recipe, state, batch, draws, step


def stepped(name):
  recipe, state, batch, draws, step = compiled(name)
  after, metrics = step(state, batch, draws, None)
  return recipe, state, after, metrics


def flat(tree):
  pairs = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pairs}


# Training steps.


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("two", marks=pytest.mark.slow),
    "three",
    pytest.param("five", marks=pytest.mark.slow),
  ],
)
def test_a_step_trains_every_parameter(name):
  recipe, before, after, metrics = stepped(name)
  for key, value in metrics.items():
    assert np.isfinite(value), key
  assert after.step == 1
  old, new = flat(before.params), flat(after.params)
  assert old.keys() == new.keys()
  for key, leaf in new.items():
    assert np.isfinite(leaf).all(), key
    if key.startswith("['cpc']") and "['predict']['bias']" in key:
      continue  # its true gradient is zero: the softmax does not see it
    assert np.abs(leaf - old[key]).max() > 0, f"{key} is not trained"
  for part in ("codebook", "side"):
    moved, still = flat(getattr(after, part)), flat(getattr(before, part))
    assert all(np.isfinite(leaf).all() for leaf in moved.values())
    assert any((moved[k] != still[k]).any() for k in moved)
  norms = [np.linalg.norm(old[k] - new[k]) for k in old]
  np.testing.assert_allclose(
    metrics["grad_norm"], np.linalg.norm(norms), rtol=1e-4
  )
  counts = dict(WEIGHTS)
  counts["matching"] = metrics["codebook/trust"]
  losses = [k for k in metrics if k.split("/")[0] in counts]
  total = sum(counts[k.split("/")[0]] * metrics[k] for k in losses)
  np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
  assert set(recipe.network.order) == set(after.codebook.age)
  assert {k for k in metrics if k.startswith("matching/")} == {
    "matching/clip",
    "matching/step",
  }
  assert not {k for k in metrics if k.startswith("commitment/")}  # weight 0


def test_first_numbers_are_drawn_from_keys_of_their_own(monkeypatch):
  """What one key gives twice would begin equal."""
  recipe, asked = recipe_of(model_of("plain")), {}

  def noted(name, function):
    def call(key, *arguments):
      asked[name] = jax.random.key_data(key).tolist()
      shapes = jax.eval_shape(lambda key: function(key, *arguments), key)
      return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)

    return call

  network = recipe.network
  recipe = recipe._replace(
    **{
      name: noted(name, getattr(recipe, name))
      for name in ("init_cpc", "init_codebook", "init_club")
    }
  )
  init = type(network).init
  monkeypatch.setattr(
    type(network),
    "init",
    lambda self, *arguments: noted("network", functools.partial(init, self))(
      *arguments
    ),
  )
  recipes.init(recipe, jax.random.key(0), batch_of(network))
  assert len(asked) == 4
  assert len({*map(tuple, asked.values())}) == 4


@pytest.mark.parametrize(
  "changes", [{"weights": WEIGHTS | {"club": 0.0}}, {"club_rounds": 0}]
)
def test_networks_that_nothing_trains_are_not_there(changes):
  def networks(recipe):
    init = functools.partial(recipes.init, recipe, batch=batch)
    return jax.eval_shape(init, jax.random.key(0))[2]["club"]

  recipe = recipe_of(model_of("plain"))
  batch = batch_of(recipe.network)
  assert networks(recipe)
  assert not networks(recipe._replace(**changes))


def test_what_is_compared_with_what():
  """Fine pairs by CPC or, without time, InfoNCE; all other pairs by InfoNCE."""

  def traced(name):
    _, batch, init, draw, step = programs(name)
    key = jax.random.key(0)
    state, draws = jax.eval_shape(init, key), jax.eval_shape(draw, key=key)
    return state, jax.eval_shape(step, state, batch, draws, None)[1]

  def terms(name):
    metrics = traced(name)[1]
    return {k for k in metrics if k.startswith(("cpc/", "infonce/"))}

  assert terms("two") == {"infonce/fine/image-spectrum"}
  assert "cpc" not in traced("two")[0].params
  assert terms("three") == {
    "cpc/video+audio",
    "infonce/video-text",
    "infonce/audio-text",
  }
  assert terms("five") == {
    "cpc/audio+video+motion",
    "infonce/touch-audio",
    "infonce/touch-video",
    "infonce/touch-motion",
    "infonce/touch-text",
    "infonce/audio-text",
    "infonce/video-text",
    "infonce/motion-text",
  }
  metrics = traced("five")[1]
  assert len([k for k in metrics if k.startswith("cmcm/")]) == 10
  assert len([k for k in metrics if k.startswith("cpc_accuracy/")]) == 9
  assert {k for k in metrics if k.startswith("club/")} == {
    "club/fine/audio",
    "club/fine/video",
    "club/fine/motion",
    "club/coarse/audio+video+motion",
    "club/coarse/touch",
    "club/coarse/text",
  }


@pytest.mark.parametrize(("steps", "aligned"), [(1, 0), (2, 0), (3, 1)])
def test_cpc_needs_three_steps(steps, aligned):
  model = model_of("three")
  features = batch_of(model)["features"]
  short = {m: x[:, :steps] for m, x in features.items()}
  init = functools.partial(state_lib.init, training_of(recipe_of(model)))
  state = jax.eval_shape(init, jax.random.key(0), {"features": short})
  assert ("cpc" in state.params) == aligned


def test_padding_content_is_irrelevant_to_a_whole_step():
  _, state, batch, draws, step = compiled("three")
  rng = np.random.default_rng(9)
  garbage = {}
  for m, x in batch["features"].items():
    pad = np.arange(x.shape[1]) >= batch["lengths"][m][:, None]
    assert pad.any()
    garbage[m] = x.copy()
    garbage[m][pad] = 5 * rng.normal(size=garbage[m][pad].shape)
  after, metrics = step(state, batch, draws, None)
  other, others = step(state, {**batch, "features": garbage}, draws, None)
  for key, value in metrics.items():
    np.testing.assert_allclose(others[key], value, 1e-4, 1e-6, err_msg=key)
  expected = flat((after.params, after.codebook, after.side))
  for key, leaf in flat((other.params, other.codebook, other.side)).items():
    np.testing.assert_allclose(leaf, expected[key], 1e-3, 2e-5, err_msg=key)
  # Lengths do matter.
  full = {m: np.full_like(n, 3) for m, n in batch["lengths"].items()}
  _, longer = step(state, {**batch, "lengths": full}, draws, None)
  assert abs(longer["loss"] - metrics["loss"]) > 1e-3


def test_a_step_keeps_structure_shapes_and_types():
  _, state, batch, draws, _ = compiled("three")
  for dtype in (None, jnp.bfloat16):
    training = training_of(recipe_of(model_of("three", dtype=dtype)))
    after, metrics = jax.eval_shape(
      functools.partial(step_lib.train_step, training=training, steps=10),
      state,
      batch,
      draws,
      None,
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert all(m.shape == () for m in metrics.values())
    assert metrics["loss"].dtype == jnp.float32


# Forward.


@functools.cache
def plain(time=4, sphere=True):
  """Compiled forward of (params, codes), parameters, codes, features, mask."""
  model = model_of("plain", sphere=sphere)
  batch = batch_of(model)
  features = {m: x[:, :time] for m, x in batch["features"].items()}
  mask = padding_mask(batch) if time == 4 else {}
  params = jax.jit(model.init)(jax.random.key(0), features)
  codes = jax.random.uniform(jax.random.key(1), (K, D), float, -1, 1)
  run = jax.jit(lambda p, c: model.forward(p, c, features, mask))
  return run, params, codes, features, mask


@pytest.mark.parametrize("name", list(MODELS))
def test_shapes(name):
  model = model_of(name)
  features = batch_of(model)["features"]
  codes = jnp.zeros((K, D))
  params = jax.eval_shape(model.init, jax.random.key(0), features)
  out = jax.eval_shape(model.forward, params, codes, features)
  for m in model.order:
    assert out.general[m].shape == (B, D)
    assert out.coarse_reconstruction[m].shape == (B, D)
    assert (out.idx[m].shape, out.idx[m].dtype) == ((B,), jnp.int32)
  assert set(out.tokens) == set(out.summary) == set(model.fine)
  for m in model.fine:
    assert out.tokens[m].shape == (B, SHAPES[m][0], D)
    assert out.general_steps[m].shape == (B, SHAPES[m][0], D)
    assert out.fine_reconstruction[m].shape == features[m].shape
  assert set(out.general_steps) == set(model.fine)
  clips = model_of(name, steps=False)
  assert jax.eval_shape(clips.forward, params, codes, features)[:7] == out[:7]
  assert not jax.eval_shape(
    clips.forward, params, codes, features
  ).general_steps
  narrow = model_of(name, dtype=jnp.bfloat16)
  again = jax.eval_shape(narrow.init, jax.random.key(0), features)
  assert {p.dtype for p in jax.tree.leaves(again)} == {jnp.dtype("float32")}
  half = jax.eval_shape(narrow.forward, again, codes, features)
  same = jax.tree.map(
    lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), out, half
  )
  assert all(jax.tree.leaves(same))  # outputs are float32 either way
  general = jax.eval_shape(narrow.general, again, features)
  assert {x.dtype for x in general.values()} == {jnp.dtype("float32")}


def test_codes_are_the_nearest_of_what_is_never_negative():
  run, params, codes, _, _ = plain()
  out = run(params, codes)
  for m, x in out.general.items():
    assert (np.asarray(x) >= 0).all()
    distance = ((np.asarray(x)[:, None] - np.asarray(codes)) ** 2).sum(-1)
    np.testing.assert_array_equal(out.idx[m], distance.argmin(1))
    np.testing.assert_array_equal(out.code[m], codes[out.idx[m]])


def test_what_is_quantized_lies_on_the_sphere_in_the_same_direction():
  run, params, codes, features, mask = plain()
  on, off = run(params, codes), plain(sphere=False)[0](params, codes)
  downstream = model_of("plain").general(params, features, mask)
  for m, x in off.general.items():
    root = np.sqrt((np.asarray(x) ** 2).mean(-1, keepdims=True))
    np.testing.assert_allclose(on.general[m], x / root, 1e-5, 1e-6)
  for m, x in off.general_steps.items():
    root = np.sqrt((np.asarray(x) ** 2).mean(-1, keepdims=True))
    assert np.ptp(root) > 0.01
    np.testing.assert_allclose(on.general_steps[m], x / root, 1e-5, 1e-6)
    # Steps are quantized in training as they are downstream.
    np.testing.assert_allclose(on.general_steps[m], downstream[m], 1e-5, 1e-6)
  np.testing.assert_array_equal(on.coarse["text"], off.coarse["text"])


def test_fine_modalities_share_heads_and_others_have_their_own():
  run, params, codes, _, _ = plain()
  for part in ("coarse", "general", "specific_head"):
    assert set(params["encoder"][part]) == {"left+right", "text"}
  before = run(params, codes)
  for group in ("left+right", "text"):
    changed = jax.tree.map(lambda x: x, params)
    head = changed["encoder"]["general"][group]["linear"]
    head["bias"] = head["bias"] + 1
    after = run(changed, codes)
    for m in MODELS["plain"]:
      same = (after.general[m] == before.general[m]).all()
      assert same == (m not in group.split("+"))


def test_codes_get_no_gradient_but_matter():
  run, params, codes, _, _ = plain()

  @jax.jit
  @jax.value_and_grad
  def total(codes):
    return sum(
      jnp.sum(leaf**2)
      for leaf in jax.tree.leaves(run(params, codes))
      if jnp.issubdtype(leaf.dtype, jnp.floating)
    )

  value, grad = total(codes)
  assert not grad.any()
  assert abs(total(codes + 0.1)[0] - value) > 1e-3


@pytest.mark.parametrize("sphere", [True, False])
def test_the_straight_through_gradient_is_that_of_the_code_itself(sphere):
  """d loss / d general = d loss / d code at the code, as if they were one."""
  run, params, codes, _, _ = plain(sphere=sphere)
  w = np.random.default_rng(3).normal(size=(B, D)).astype(np.float32)
  out = run(params, codes)
  assert np.abs(out.code["text"] - out.general["text"]).max() > 0.1

  @jax.jit
  @jax.grad
  def to_bias(bias):
    changed = jax.tree.map(lambda x: x, params)
    changed["encoder"]["general"]["text"]["linear"]["bias"] = bias
    return (w * run(changed, codes).coarse_reconstruction["text"] ** 2).sum()

  @jax.jit
  @jax.grad
  def to_code(code):
    decoder = decoders.LinearDecoder(D)
    own = {"params": params["decoder"]["coarse"]["text"]}
    return (
      w * decoder.apply(own, code, out.coarse_specific["text"]) ** 2
    ).sum()

  active = np.asarray(out.general["text"]) > 0  # the head's rectifier
  grad = np.asarray(to_code(out.code["text"]))
  if sphere:  # nothing along the row, and in units of its length
    y = np.asarray(out.general["text"])
    x = np.asarray(plain(sphere=False)[0](params, codes).general["text"])
    grad = grad - y * (grad * y).mean(-1, keepdims=True)
    grad /= np.sqrt((x**2).mean(-1, keepdims=True))
  expected = (grad * active).sum(0)
  assert np.abs(expected).max() > 1e-3
  ours = to_bias(params["encoder"]["general"]["text"]["linear"]["bias"])
  np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_encode_gives_a_code_a_step_or_a_clip():
  run, params, codes, features, mask = plain()
  encode = jax.jit(model_of("plain").encode)
  idx = encode(params, codes, features, mask)
  shapes = {m: i.shape for m, i in idx.items()}
  assert shapes == {"left": (B, 4), "right": (B, 4), "text": (B, 1)}
  assert all(i.dtype == jnp.int32 for i in idx.values())
  # A clip's code is that of pretraining; a part of the modalities suffices.
  np.testing.assert_array_equal(
    idx["text"][:, 0], run(params, codes).idx["text"]
  )
  alone = encode(params, codes, {"right": features["right"]}, mask)
  assert set(alone) == {"right"}
  np.testing.assert_array_equal(alone["right"], idx["right"])
  assert len(np.unique(idx["right"])) > 1


def test_with_one_step_downstream_sees_what_pretraining_saw():
  run, params, codes, features, _ = plain(time=1)
  out = run(params, codes)
  general = jax.jit(model_of("plain").general)(params, features)
  for m, x in general.items():
    np.testing.assert_allclose(x[:, 0], out.general[m], 1e-5, 1e-6)


@functools.cache
def twins(rate):
  """Two sequence modalities with equal features and equal parameters."""
  spec = Modality("sequence", False)
  model = FCID({"a": spec, "b": spec}, **(SIZES | {"dropout": rate}))
  x = np.random.default_rng(0).normal(size=(1, 3, 7)).astype(np.float32)
  features = dict.fromkeys("ab", np.repeat(x, 2, 0))  # and two equal samples
  params = jax.jit(model.init)(jax.random.key(0), features)
  for part in ("tokens", "coarse", "general"):
    params["encoder"][part]["b"] = params["encoder"][part]["a"]
  return model, params, features


def test_padded_text_is_the_short_text():
  model, params, features = twins(0.0)
  general = jax.jit(model.general)
  x = features["a"]
  padded = general(params, {"a": x}, {"a": np.arange(3) < [[2], [2]]})["a"]
  short = general(params, {"a": x[:, :2]})["a"]
  np.testing.assert_allclose(padded, short, rtol=1e-4, atol=1e-5)
  assert np.abs(general(params, {"a": x})["a"] - short).max() > 1e-3


def test_dropout_needs_keys_and_differs_between_modalities_and_samples():
  model, params, features = twins(0.5)
  fold = jax.vmap(jax.random.fold_in, (None, 0))

  @jax.jit
  def coarse(keys):
    codes = jnp.zeros((K, D))
    return model.forward(params, codes, features, None, keys).coarse

  plain, dropped = coarse(None), coarse(fold(jax.random.key(1), jnp.arange(2)))
  np.testing.assert_array_equal(plain["a"], plain["b"])
  np.testing.assert_allclose(plain["a"][0], plain["a"][1], atol=1e-6)
  assert np.abs(dropped["a"] - plain["a"]).max() > 1e-3
  assert np.abs(dropped["a"] - dropped["b"]).max() > 1e-3
  assert np.abs(dropped["a"][0] - dropped["a"][1]).max() > 1e-3


# Codes that modalities share.


def assignments_of(out, mask, codes, nearest=codebook_lib.nearest_jointly):
  return model_of("plain").assign(out, mask, codes, nearest)


def test_assignments_are_clips_and_steps_that_both_modalities_have():
  run, params, codes, _, _ = plain()
  out = run(params, codes)
  lengths = {"left": [4, 1, 4, 2, 4, 3], "right": [4, 4, 2, 1, 4, 4]}
  mask = {m: np.arange(4) < np.array(n)[:, None] for m, n in lengths.items()}
  assignments = assignments_of(out, mask, codes)
  assert list(assignments) == ["clip", "step"]
  clip, step = assignments.values()
  assert set(clip.x) == {"left", "right", "text"}
  assert set(step.x) == {"left", "right"}
  np.testing.assert_array_equal(clip.weight_B, np.ones(B))
  both = (mask["left"] & mask["right"]) / 4
  np.testing.assert_allclose(step.weight_B, both.reshape(-1))
  np.testing.assert_array_equal(
    step.x["right"], np.asarray(out.general_steps["right"]).reshape(-1, D)
  )
  for rows in assignments.values():
    mean = sum(np.asarray(x, float) for x in rows.x.values()) / len(rows.x)
    nearest = ((mean[:, None] - np.asarray(codes)) ** 2).sum(-1).argmin(1)
    for m, x in rows.x.items():
      np.testing.assert_array_equal(rows.idx[m], nearest)
      expected = codebook_lib.distances(codes, x)
      np.testing.assert_array_equal(rows.distance[m], expected)
  each = assignments_of(out, mask, codes, codebook_lib.nearest_each)["clip"]
  for m, idx in out.idx.items():
    np.testing.assert_array_equal(each.idx[m], idx)


def test_agreement_is_of_what_each_would_choose():
  run, params, codes, _, _ = plain()
  out = run(params, codes)
  mask = {"left": np.arange(4) < np.array([4, 1, 4, 2, 4, 3])[:, None]}
  assignments = assignments_of(out, mask, codes)
  book = codebook_lib.asleep(jax.random.key(0), K, D, tuple(out.idx))
  book = book._replace(
    count_K=jnp.array([0, 3.0, 1, 9] + [0] * (K - 4)),
    tenure_K=jnp.array([200.0, 60, 49, 0] + [50.0] * (K - 4)),
    code_KxD=book.code_KxD.at[:3].set(1.0),
  )
  health = assignment.health(model_of("plain").order, book, assignments, None)
  idx = {m: np.asarray(i) for m, i in out.idx.items()}
  for m, n in (("left", "right"), ("left", "text"), ("right", "text")):
    np.testing.assert_allclose(
      health[f"agreement/clip/{m}-{n}"], (idx[m] == idx[n]).mean(), rtol=1e-6
    )
  left, right = (
    np.asarray(codebook_lib.assign(codes, out.general_steps[m]))
    for m in ("left", "right")
  )
  np.testing.assert_allclose(
    health["agreement/step/left-right"],
    (left == right)[mask["left"]].mean(),
    rtol=1e-6,
  )
  assert 0 < health["agreement/step/left-right"] < 1
  used = np.stack([np.bincount(i, minlength=K) > 0 for i in idx.values()])
  np.testing.assert_allclose(health["codebook/used"], used.any(0).mean())
  np.testing.assert_allclose(health["codebook/used_by_all"], used.all(0).mean())
  np.testing.assert_allclose(health["codebook/awake"], 3 / K, rtol=1e-6)
  np.testing.assert_allclose(health["codebook/placed"], 2 / K, rtol=1e-6)
  # The code that was placed in this step is no part of it: 3 to 1.
  share = np.array([0.75, 0.25])
  entropy = -(share * np.log(share)).sum()
  np.testing.assert_allclose(
    health["codebook/perplexity"], np.exp(entropy), rtol=1e-5
  )


@pytest.mark.parametrize(
  ("modalities", "steps", "aligns"),
  [(2, 3, True), (2, 2, False), (1, 9, False), (0, 9, False)],
)
def test_two_modalities_of_three_steps_align_in_time(modalities, steps, aligns):
  parts = {
    m: Modality("sequence", i < modalities, 4) for i, m in enumerate("abc")
  }
  features = {m: np.zeros((1, steps, 4)) for m in parts}
  assert FCID(parts, **SIZES).aligns_in_time(features) == aligns


def test_a_code_that_is_chosen_once_is_used():
  chosen = {"a": np.array([0, 1, 1]), "b": np.array([0, 2, 2])}
  distance = {m: 1.0 - jnp.eye(K)[idx] for m, idx in chosen.items()}
  x = {m: jnp.zeros((3, D)) for m in chosen}
  rows = codebook_lib.Assignment(
    x, distance, chosen, jnp.ones(3), filled(None, x)
  )
  book = codebook_lib.asleep(jax.random.key(0), K, D, tuple(chosen))
  health = assignment.health([*chosen], book, {"clip": rows}, None)
  found = {name: round(float(x) * K) for name, x in health.items()}
  assert found["codebook/used"] == 3
  assert found["codebook/used/a"] == found["codebook/used/b"] == 2
  assert found["codebook/used_by_all"] == 1


def measured(general, codes, distribution=cmcm.cosine_distribution):
  """Total and metrics of matching alone, where clips say `general`."""
  run, params, first, _, mask = plain()
  out = run(params, first)._replace(general=general, general_steps={})
  weights = dict.fromkeys(LOSSES, 0.0) | {"matching": 1.0, "cmcm": 1e-9}
  assignments = assignments_of(out, mask, codes)
  inputs = LossInputs(
    order=model_of("plain").order,
    fine=model_of("plain").fine,
    outputs=out,
    mask=mask,
    assignments=assignments,
    pairs={},
    networks={},
    draws=None,  # no CPC and no CLUB: nothing is drawn
    groups={},
    distribution=distribution,
    present=filled(None, general),
  )
  return objective.objective(inputs, LOSSES, weights)


def test_matching_counts_as_far_as_codes_tell_samples_apart():
  rng = np.random.default_rng(0)
  codes = np.zeros((K, D), np.float32)
  codes[:B] = rng.random((B, D))
  codes[:B] /= np.sqrt((codes[:B] ** 2).mean(-1, keepdims=True))
  general = {
    m: codebook_lib.on_sphere(codes[:B] + 0.3 * rng.random((B, D)))
    for m in MODELS["plain"]
  }

  def alone(general):
    distance = {m: codebook_lib.distances(codes, x) for m, x in general.items()}
    idx = codebook_lib.nearest_jointly(distance)
    return matching.matching(distance, idx, np.ones(B), dim=D)

  value_and_grad = jax.jit(jax.value_and_grad(measured, has_aux=True))
  (total, metrics), grad = value_and_grad(general, codes)
  plain_loss, plain_grad = jax.jit(jax.value_and_grad(alone))(general)
  cmcm_mean = np.mean([2 * metrics[k] for k in metrics if "cmcm/" in k])
  trust = metrics["codebook/trust"]
  assert 0.2 < trust < 0.9
  np.testing.assert_allclose(trust, 1 - cmcm_mean / np.log(B), rtol=1e-5)
  np.testing.assert_allclose(total, trust * plain_loss, rtol=1e-5)
  np.testing.assert_allclose(metrics["matching/clip"], plain_loss, rtol=1e-6)
  for m in general:  # trust itself is not trained
    np.testing.assert_allclose(grad[m], trust * plain_grad[m], 1e-3, 1e-6)
    assert np.abs(grad[m]).max() > 1e-3
  # Where distributions are flat there is no trust, and nothing moves.

  def flat(distance, dim):
    return jnp.full_like(distance, 1 / K)

  for case in (
    functools.partial(measured, codes=codes, distribution=flat),
    functools.partial(measured, codes=np.zeros_like(codes)),
  ):
    (total, metrics), grad = jax.jit(jax.value_and_grad(case, has_aux=True))(
      general
    )
    assert metrics["codebook/trust"] < 1e-6
    assert total < 1e-6
    assert max(np.abs(g).max() for g in grad.values()) < 1e-6


def test_codes_move_by_averages_and_not_by_gradients():
  """As the pure update has it, whatever the losses count."""
  recipe, state, batch, draws, step = compiled("three")
  after, _ = step(state, batch, draws, None)
  mask = padding_mask(batch)

  @jax.jit
  def update(state):
    code_KxD = state.codebook.code_KxD
    out = recipe.network.forward(
      state.params, code_KxD, batch["features"], mask
    )
    assignments = recipe.network.assign(out, mask, code_KxD, recipe.nearest)
    return recipe.update_codebook(
      state.codebook, [*assignments.values()], draws.codebook, 0.0
    )

  expected = flat(update(state))
  for key, leaf in flat(after.codebook).items():
    np.testing.assert_allclose(leaf, expected[key], 1e-4, 1e-5, err_msg=key)
  moved = after.codebook.code_KxD - state.codebook.code_KxD
  assert np.abs(moved[: K // 2]).max(1).max() > 1e-4
