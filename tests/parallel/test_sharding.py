"""One device equals many: whole training steps over 1, 2, 4 and 8 devices.

Everything that crosses devices takes part: padding masks, CLUB negatives across
devices and parts, both presets, codes that wake, sleep and restart, dropout in
the clean one.

Two leaves are compared apart. The softmax of attention does not see its key
bias and that of CPC not its predictor's bias, so their true gradient is zero;
what is computed is rounding noise, and Adam turns noise of any size into steps
of up to its learning rate. All that can be asked of them is to stay small.
"""

import functools
import itertools
import re

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from unirep.configs import pretrain
from unirep.configuration import build
from unirep.losses import cmcm, matching
from unirep.methods import recipe as recipes
from unirep.parallel import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib

B, T, STEPS, DIM, CODES = 16, 6, 5, 16, 16
SHAPES = {"video": (T, 6), "audio": (T, 7), "text": (T, 9)}
# (tolerance, absolute bound on the noise of leaves without a true gradient)
LIMITS = {"float64": (1e-10, 1e-9), "float32": (1e-5, 2 * STEPS * 4e-4)}


def parts_of(preset, **changes):
  """The recipe, and the training that it is of."""
  config = pretrain.get_config(f"size=tiny,preset={preset}")
  config.update({"dropout": 0.0, "mask_padding": True})
  config.steps = 2 * STEPS  # so that codes may be placed in all of them
  if preset == "clean":
    config.codes.update(
      {"limit": 1.0, "until": 1.0, "threshold": 0.2, "agreed": 0.1}
    )
  else:
    config.codes.restart.limit = 1.0
  config.loss.club.bounded = False  # a bound clamped to zero hides its parts
  config.encoders.video.kind = config.encoders.audio.kind = "vector"
  assert (config.model.dim, config.codebook.size) == (DIM, CODES)
  config.update(changes)
  recipe = build.recipe(config)
  if preset == "clean":
    losses = dict(recipe.losses) | {"matching": always_matched}
    recipe = recipe._replace(
      losses=losses, init_codebook=one_awake(recipe.init_codebook)
    )
  return recipe, build.training(config)._replace(method=recipes.method(recipe))


def always_matched(inputs):
  """Matching, without the part that untrained codes have as well."""
  weight = sum(cmcm.pairs(inputs).parts.values()) / 30
  loss = matching.match(inputs, temperature=0.1)
  return loss._replace(scale=jax.lax.stop_gradient(weight))


def one_awake(init):
  """All asleep but one, which nothing chooses once there are others."""

  def changed(*args):
    book = init(*args)
    opposite_KxD = book.code_KxD.at[5].set(-1)
    return book._replace(
      code_KxD=opposite_KxD,
      count_K=book.count_K.at[5].set(1e6),
      sum_KxD=1e6 * opposite_KxD,
    )

  return changed


def batches(dtype):
  """Events that modalities share; every second step some end and some begin."""
  rng = np.random.default_rng(0)
  says = {m: rng.normal(size=(10, shape[-1])) for m, shape in SHAPES.items()}
  for i in range(STEPS):
    event_BxT = i // 2 * 3 + np.repeat(rng.integers(0, 3, (B, 1)), T, 1)
    event_BxT[:, T // 2 :] += rng.random((B, 1)) < 0.25
    features = {
      m: (2 * says[m][event_BxT] + rng.normal(size=(B, *shape))).astype(dtype)
      for m, shape in SHAPES.items()
    }
    lengths = {m: rng.integers(2, T + 1, B).astype(np.int32) for m in SHAPES}
    yield {"features": features, "lengths": lengths}


def train(training, dtype, count, model=1):
  """Metrics and codebook of each step, and the last state, as NumPy arrays."""
  with jax.enable_x64(dtype == "float64"):
    mesh = mesh_lib.make(B, jax.devices()[:count], model=model)
    init = jax.jit(functools.partial(state_lib.init, training))
    state = init(jax.random.key(1), next(batches(dtype)))
    where = mesh_lib.state_sharding(mesh, state, params=True)
    state = jax.device_put(state, where)
    splits = {"sharding": where} if model > 1 else {}
    step = step_lib.build(training, mesh, **splits)
    batch = mesh_lib.put_batch(mesh, next(batches(dtype)))
    # Long enough that codes may be placed in all steps.
    run_args = jax.device_put(
      state_lib.run_args(3, 2 * STEPS), mesh_lib.replicated(mesh)
    )
    # Once: it refuses a state that lies otherwise than the first one.
    step = step.lower(state, batch, run_args).compile()
    history = []
    for batch in batches(dtype):
      state, metrics = step(state, mesh_lib.put_batch(mesh, batch), run_args)
      history.append(jax.device_get((metrics, state.codebook)))
    for leaf, wanted in zip(
      jax.tree.leaves(state), jax.tree.leaves(where), strict=True
    ):
      assert leaf.sharding.is_equivalent_to(wanted, leaf.ndim)
    return history, jax.device_get(state)


@functools.cache
def run(preset, dtype, count, contrast="dense"):
  with jax.enable_x64(dtype == "float64"):
    _, training = parts_of(preset, contrast=contrast, contrast_chunk=3)
    return train(training, dtype, count)


def leaves(state):
  """(comparable leaves, leaves whose true gradient is zero), by path."""
  real, noise = {}, {}
  for part in ("params", "codebook", "side"):
    flat = jax.tree_util.tree_leaves_with_path(getattr(state, part))
    for path, leaf in flat:
      name = part + jax.tree_util.keystr(path)
      if name.endswith("['attention']['in_bias']"):
        noise[name] = leaf[DIM : 2 * DIM]
        real[name] = np.concatenate([leaf[:DIM], leaf[2 * DIM :]])
      elif name.startswith("params['cpc']") and "predict']['bias" in name:
        noise[name] = leaf
      else:
        real[name] = leaf
  return real, noise


def worst(ours, theirs, floor):
  """Largest error relative to the leaf, and where; NaN counts as infinite."""
  assert ours.keys() == theirs.keys()
  errors = []
  for name, leaf in theirs.items():
    scale = max(float(np.abs(leaf).max()), floor)
    error = float(np.abs(ours[name] - leaf).max()) / scale
    errors.append((error if np.isfinite(error) else np.inf, name))
  return max(errors)


def case(preset, dtype, count, slow=False):
  marks = [pytest.mark.slow] if slow else []
  return pytest.param(preset, dtype, count, marks=marks)


@pytest.mark.parametrize(
  ("preset", "dtype", "count"),
  [
    case("clean", "float64", 2, slow=True),
    case("clean", "float64", 4, slow=True),
    case("clean", "float64", 8),
    case("clean", "float32", 2, slow=True),
    case("clean", "float32", 4, slow=True),
    case("clean", "float32", 8, slow=True),
    case("released", "float64", 2, slow=True),
    case("released", "float64", 4, slow=True),
    case("released", "float64", 8, slow=True),
    case("released", "float32", 2, slow=True),
    case("released", "float32", 4, slow=True),
    case("released", "float32", 8, slow=True),
  ],
)
def test_devices_do_not_matter(preset, dtype, count):
  compare(run(preset, dtype, 1), run(preset, dtype, count), dtype)


@pytest.mark.parametrize(
  ("contrast", "dtype"),
  [
    pytest.param("ring", "float64", marks=pytest.mark.slow),
    pytest.param("ring", "float32", marks=pytest.mark.slow),
    pytest.param("chunked", "float64", marks=pytest.mark.slow),
  ],
)
def test_how_rows_are_compared_does_not_matter(contrast, dtype):
  many = run("clean", dtype, 8, contrast)
  compare(run("clean", dtype, 1), many, dtype)


@pytest.mark.parametrize(
  ("model", "contrast"),
  [
    pytest.param(2, "dense", marks=pytest.mark.slow),
    pytest.param(4, "ring", marks=pytest.mark.slow),
    pytest.param(8, "chunked", marks=pytest.mark.slow),
  ],
)
def test_splitting_the_state_does_not_matter(model, contrast, monkeypatch):
  """Codes and wide parameters over the model axis, rows over the data axis."""
  monkeypatch.setattr(mesh_lib, "WIDE", 64)
  with jax.enable_x64(True):
    _, training = parts_of("clean", contrast=contrast)
    many = train(training, "float64", 8, model)
  compare(run("clean", "float64", 1), many, "float64", tolerance=1e-9)


def compare(one_run, many_run, dtype, tolerance=None):
  limit, noise_bound = LIMITS[dtype]
  tolerance = tolerance or limit
  (one, one_state), (many, many_state) = one_run, many_run
  assert one_state.codebook.code_KxD.dtype == dtype
  # Every metric of every step; CLUB and losses near zero are differences of
  # terms near one, hence the floor.
  for i, ((ours, _), (theirs, _)) in enumerate(zip(many, one, strict=True)):
    error, name = worst(ours, theirs, floor=0.1)
    assert error <= tolerance, f"step {i}, {name}: {error:.1e}"
  for (_, ours), (_, theirs) in zip(many, one, strict=True):
    # Beside FAR no error would be large enough to be seen above.
    np.testing.assert_array_equal(ours.tenure_K, theirs.tenure_K)
    np.testing.assert_array_equal(ours.code_KxD != 0, theirs.code_KxD != 0)
  (real, noise), (real_1, noise_1) = leaves(many_state), leaves(one_state)
  error, name = worst(real, real_1, floor=1e-3)
  assert error <= tolerance, f"{name}: {error:.1e}"
  assert len(noise) == 3  # one attention, two CPC predictors
  for name, leaf in noise.items():
    assert np.abs(leaf - noise_1[name]).max() <= noise_bound, name


@pytest.mark.parametrize(
  "preset", ["clean", pytest.param("released", marks=pytest.mark.slow)]
)
def test_the_comparison_is_not_empty(preset):
  """Codes wake, sleep or restart, batches differ, codes and parameters move."""
  history, _ = run(preset, "float64", 1)
  for metrics, _ in history:
    assert np.isfinite(list(metrics.values())).all()
  {"clean": check_growth, "released": check_restarts}[preset](history)
  norms = [float(metrics["grad_norm"]) for metrics, _ in history]
  assert min(np.abs(np.diff(norms))) > 1e-3
  names = {name.split("/")[0] for name in history[0][0]}
  own = {"clean": "matching", "released": "commitment"}[preset]
  assert names >= {"cmcm", "club", "cpc", "infonce", "agreement", own}
  for pair in ("fine/video", "fine/audio", "coarse/video+audio", "coarse/text"):
    assert all(abs(metrics[f"club/{pair}"]) > 1e-8 for metrics, _ in history)


def check_restarts(history):
  restarts = 0
  for metrics, codebook in history:
    for m, age_K in codebook.age.items():  # zero: chosen by m, or restarted
      restarts += (age_K == 0).sum() - metrics[f"codebook/used/{m}"] * CODES
  assert restarts >= 3


def check_growth(history):
  """Several codes wake in a step, some sleep again, others move."""
  books = [codebook for _, codebook in history]
  awake = [book.code_KxD.any(1) for book in books]
  placed = [int((book.tenure_K == 0).sum()) for book in books]
  assert placed[0] >= 2
  assert sum(x > 0 for x in placed) >= 3
  slept = [(old & ~new).sum() for old, new in itertools.pairwise(awake)]
  assert sum(slept) >= 1
  for old, new in itertools.pairwise(books):
    stayed = old.code_KxD.any(1) & new.code_KxD.any(1) & (new.tenure_K > 0)
    moved = np.abs(new.code_KxD - old.code_KxD)[stayed].max(1)
    assert (moved > 1e-6).sum() >= 2
  # By clips the counts would be whole numbers; steps count in parts.
  kept = (books[1].tenure_K == 1) & awake[1]
  hits = (books[1].count_K[kept] - 0.99 * books[0].count_K[kept]) / 0.01
  assert (hits > 1).sum() >= 2
  assert (np.abs(hits - hits.round()) > 0.01).any()


def test_codes_wake_at_places_of_several_devices():
  """Of the rows of the first batch, those that became codes."""
  recipe, training = parts_of("clean")
  with jax.enable_x64(True):
    batch = next(batches("float64"))
    init = jax.jit(functools.partial(state_lib.init, training))
    state = init(jax.random.key(1), batch)
    mask = recipes.padding_mask(batch)

    @jax.jit
    def assigned(state):
      code_KxD = state.codebook.code_KxD
      features = batch["features"]
      network = recipe.network
      outputs = network.forward(state.params, code_KxD, features, mask)
      return network.assign(outputs, mask, code_KxD, recipe.nearest)

    assignments = jax.device_get(assigned(state))
  history, _ = run("clean", "float64", 8)
  book = history[0][1]
  found = {}
  for name, rows in assignments.items():
    row_RxD = np.sum([*rows.x.values()], 0)
    row_RxD /= np.sqrt((row_RxD**2).mean(-1, keepdims=True))
    for code_D in book.code_KxD[book.tenure_K == 0]:
      error = np.abs(row_RxD - code_D).max(-1)
      if error.min() < 1e-9:
        sample = error.argmin() // (len(error) // B)
        found[name, int(error.argmin())] = sample // (B // 8)
  assert len(found) == (book.tenure_K == 0).sum()
  assert len({*found.values()}) >= 2, found


@pytest.mark.slow
def test_dropout_does_not_know_the_devices():
  """Every sample has its own key, whichever device holds it."""

  def losses(rate, count):
    _, training = parts_of(
      "clean",
      dropout=rate,
      modalities=("audio", "text"),
      fine=("audio",),
      club={"rounds": 0},
    )
    history, _ = train(training, "float32", count)
    return np.array([metrics["loss"] for metrics, _ in history])

  one, many = losses(0.3, 1), losses(0.3, 8)
  np.testing.assert_allclose(many, one, rtol=1e-5)
  # In a single step it may come to the same loss.
  assert np.median(np.abs(one - losses(0.0, 1))) > 1e-2


def test_noise_leaves_have_no_true_gradient():
  """In float64 Adam's mean of their gradients is rounding, not small."""
  _, state = run("clean", "float64", 1)
  mean = state.opt_state[1][0].mu
  bias = mean["encoder"]["tokens"]["text"]["layer0"]["attention"]["in_bias"]
  assert np.abs(bias[DIM : 2 * DIM]).max() < 1e-15
  assert np.abs(bias[2 * DIM :]).max() > 1e-6
  for m in ("video", "audio"):
    assert np.abs(mean["cpc"][m]["predict"]["bias"]).max() < 1e-15


def test_what_is_split():
  mesh = mesh_lib.make(B, jax.devices()[:8], model=4)
  assert dict(mesh.shape) == {"data": 2, "model": 4}
  _, training = parts_of("clean")
  state = jax.eval_shape(
    functools.partial(state_lib.init, training, batch=next(batches("float32"))),
    jax.random.key(0),
  )
  for params in (False, True):
    where = mesh_lib.state_sharding(mesh, state, params=params)
    assert where.codebook.code_KxD.spec == PartitionSpec("model")
    assert where.codebook.age["text"].spec == PartitionSpec("model")
    assert where.step.spec == PartitionSpec()
    specs = {x.spec for x in jax.tree.leaves(where.params)}
    assert specs == {PartitionSpec()}  # nothing here is wide
  wide = state._replace(
    params={"w": jax.ShapeDtypeStruct((4, 2**16), np.float32)}
  )
  where = mesh_lib.state_sharding(mesh, wide, params=True)
  assert where.params["w"].spec == PartitionSpec(None, "model")
  with pytest.raises(ValueError, match="model=3 must divide the 8 devices"):
    mesh_lib.make(B, jax.devices()[:8], model=3)


def test_indivisible_batch_is_refused():
  with pytest.raises(
    ValueError, match="batch_size=9 is not divisible by the 2"
  ):
    mesh_lib.make(9, jax.devices()[:2])


def first_gradients(count):
  """Norms of the first step's gradients of networks in bfloat16."""
  _, training = parts_of("clean", dtype="bfloat16")
  history, _ = train(training, "float32", count)
  metrics, _ = history[0]
  return {k: float(v) for k, v in metrics.items() if "grad_norm" in k}


@pytest.mark.slow  # what crosses devices is looked at below
def test_gradients_of_bfloat16_are_summed_in_float32():
  one, many = first_gradients(1), first_gradients(8)
  assert one.keys() == many.keys()
  for name, norm in one.items():
    # Sums of rounded parts would differ by 1e-4.
    assert many[name] == pytest.approx(norm, rel=1e-6), name


def test_nothing_crosses_devices_in_bfloat16():
  _, training = parts_of("clean", dtype="bfloat16")
  batch = next(batches("float32"))
  state = jax.eval_shape(
    functools.partial(state_lib.init, training), jax.random.key(0), batch
  )
  step = step_lib.build(training, mesh_lib.make(B, jax.devices()[:8]))
  text = step.lower(state, batch, state_lib.run_args(0, 1)).as_text()
  sums = re.findall(r"stablehlo\.all_reduce.*?\}\) : \((.*?)\)", text, re.S)
  assert "bf16" in text
  assert len(sums) > 20
  assert not [types for types in sums if "bf16" in types]
