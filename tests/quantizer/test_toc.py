"""TOC against loops, recorded arrays of the released scripts, and itself."""

import itertools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.quantizer import codebook, toc

TESTS = pathlib.Path(__file__).resolve().parents[1]
SHARED = TESTS.parent.parent / "shared" / "golden"
VARIANTS = {"ave": (0.7, 0.3), "simonly": (0.7, 0.0)}
SHARES = ((1, 0), (0, 1), (1, 1), (2, 1), (1, 2), (3, 1))

importance = jax.jit(toc.importance, static_argnames="centered")


@pytest.fixture(scope="module")
def golden():
  default = SHARED if SHARED.is_dir() else TESTS / "golden"
  path = pathlib.Path(os.environ.get("UNIREP_GOLDEN", default)) / "toc.npz"
  if not path.exists():
    pytest.skip(f"{path.name} is not part of the small subset")
  with np.load(path) as data:
    return dict(data)


def codes(size=7, dim=6, seed=0, shift=1.0):
  return np.random.default_rng(seed).normal(size=(size, dim)) + shift


def relu_codes(size=12, dim=10, gone=(1, 4, 7), seed=0):
  code = np.maximum(codes(size, dim, seed), 0)
  code[:, list(gone)] = 0
  return code


def loops(code, similarity_weight, variance_weight):
  size, dim = code.shape
  score = np.zeros(dim)
  for d in range(dim):
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    sim = sum(code[i, d] * code[j, d] for i, j in pairs) / len(pairs)
    mean = sum(code[i, d] for i in range(size)) / size
    var = sum((code[i, d] - mean) ** 2 for i in range(size)) / (size - 1)
    score[d] = -similarity_weight * sim + variance_weight * var
  return score


# Importance.


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.7, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_importance_matches_double_loop(x64, size, weights):
  code = codes(size, 6)
  ours = importance(code, *weights)
  assert ours.dtype == np.float64
  np.testing.assert_allclose(ours, loops(code, *weights), rtol=1e-12)


def test_importance_of_two_codes_by_hand(x64):
  code = [[1.0, 0.0, -1.0], [3.0, 0.0, 1.0]]  # products 3, 0, -1; var 2, 0, 2
  expected = [-0.7 * 3 + 0.6, 0.0, 0.7 + 0.6]
  np.testing.assert_allclose(importance(np.array(code)), expected, rtol=1e-14)


def test_variance_survives_a_large_mean():
  """Sums of squares would lose all digits of it in float32."""
  code = (codes(50, 8, shift=0) + 4096).astype(np.float32)
  ours = importance(code, 0.0, 1.0)
  np.testing.assert_allclose(ours, code.astype(float).var(0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, np.int32])
def test_narrow_codes_are_widened(dtype):
  code = (codes(9, 5) * 300).astype(dtype)  # squares overflow in float16
  ours = importance(code)
  assert ours.dtype == np.float32
  expected = loops(np.asarray(code, float), 0.7, 0.3)
  np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize("centered", [False, True])
def test_live_codes_alone_count(x64, centered):
  code, live = codes(9, 5), np.array([1, 0, 1, 1, 0, 0, 1, 1, 0], bool)
  expected = importance(code[live], centered=centered)
  assert np.abs(expected - importance(code, centered=centered)).min() > 1e-3
  code[~live] = [[np.nan], [np.inf], [1e200], [7.0]]
  for mask in (live, live.astype(float), jnp.asarray(live)):
    ours = importance(code, live_K=mask, centered=centered)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("alive", [0, 1])
def test_too_few_live_codes_score_zero(alive):
  live = np.arange(7) < alive
  np.testing.assert_array_equal(importance(codes(), live_K=live), 0)


def test_centered_ranks_by_variance_whatever_the_offset(x64):
  code = codes()
  offset = np.random.default_rng(1).normal(size=6) * 10
  expected = loops(code - code.mean(0), 0.7, 0.3)
  for shifted in (code, code + offset):
    ours = importance(shifted, centered=True)
    np.testing.assert_allclose(ours, expected, rtol=1e-11)
  order = np.argsort(-code.var(0))
  for weights in VARIANTS.values():
    score = importance(code + offset, *weights, centered=True)
    np.testing.assert_array_equal(toc.rank(score), order)
  assert (toc.rank(importance(code + offset)) != order).any()


def test_importance_under_vmap(x64):
  books = np.stack([codes(seed=s) for s in range(3)])
  live = np.random.default_rng(0).random((3, 7)) < 0.6
  ours = jax.vmap(lambda code, live: toc.importance(code, live_K=live))(
    books, live
  )
  for score, book, mask in zip(ours, books, live, strict=True):
    np.testing.assert_allclose(score, loops(book[mask], 0.7, 0.3), rtol=1e-12)


# The released scripts.


def test_golden_importance(x64, golden):
  for book, (variant, weights) in itertools.product(
    golden["meta/codebooks"], VARIANTS.items()
  ):
    ours = importance(golden[f"in/{book}/feats"].astype(np.float64), *weights)
    expected = golden[f"out/{book}/{variant}/criterion_exact64"]
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_golden_importance_in_float32(golden):
  """The release adds up 159,600 products in float32; we are closer."""
  for book, (variant, weights) in itertools.product(
    golden["meta/codebooks"], VARIANTS.items()
  ):
    ours = importance(golden[f"in/{book}/feats"], *weights)
    assert ours.dtype == np.float32
    out = f"out/{book}/{variant}/criterion"
    for expected, tolerance in ((out, 1e-4), (f"{out}_exact64", 1e-6)):
      error = np.abs(ours - golden[expected]).max()
      assert error <= tolerance * np.abs(golden[expected]).max(), expected


def test_golden_selection(x64, golden):
  assert {tuple(pair) for pair in golden["meta/max_min"]} == set(SHARES)
  sizes, cases = golden["meta/K"], 0
  for book, (variant, weights) in itertools.product(
    golden["meta/codebooks"], VARIANTS.items()
  ):
    out = f"out/{book}/{variant}"
    score = importance(golden[f"in/{book}/feats"].astype(np.float64), *weights)
    for p, r in SHARES:
      masks = np.asarray(toc.sweep(score, sizes, (p, r)))
      for keep, mask in zip(sizes, masks, strict=True):
        case = f"K{keep}_max{p}_min{r}"
        ours = toc.indices(np.asarray(score), keep, (p, r))
        order = golden[f"{out}/indices_exact64/{case}"]
        np.testing.assert_array_equal(ours, order, case)
        released = np.sort(golden[f"{out}/indices/{case}"])
        np.testing.assert_array_equal(np.flatnonzero(mask), released, case)
        cases += 1
  assert cases == 5 * 2 * 36


# Dead dimensions.


def test_dead_dimensions():
  code, live = relu_codes(), np.arange(12) < 10
  expected = np.isin(np.arange(10), [1, 4, 7])
  for scale in (1.0, 1e-4, 1e4):
    np.testing.assert_array_equal(toc.dead(code * scale), expected)
  code[11, 4] = 5.0  # in a code that does not count
  assert not toc.dead(code)[4]
  np.testing.assert_array_equal(toc.dead(code, live), expected)
  code[0, 1] = 0.02 * np.sqrt((code[live] ** 2).mean())
  assert not toc.dead(code, live)[1]
  assert jax.jit(toc.dead)(code, live, 0.03)[1]
  assert toc.dead(np.zeros((3, 4))).all()
  fresh = np.random.default_rng(0).uniform(-1, 1, (12, 10)) / 400
  assert not toc.dead(fresh).any()


def test_dead_dimensions_are_never_preferred():
  """The similarity alone prefers them, which is a defect of the release."""
  code = relu_codes()
  dead = np.asarray(toc.dead(code))
  score = toc.importance(code, 0.7, 0.0)
  assert toc.select(score, 3)[dead].all()
  assert set(np.asarray(toc.rank(score, dead))[-3:]) == {1, 4, 7}
  for share, keep in itertools.product(SHARES, range(1, 11)):
    mask = np.asarray(toc.select(score, keep, share, dead))
    kept = keep // sum(share) * sum(share)
    assert mask.sum() == kept
    assert mask[dead].sum() == max(0, kept - 7)
    listed = toc.indices(score, keep, share, dead)
    assert sorted(listed) == list(np.flatnonzero(mask))
  lowest = toc.indices(score, 2, (0, 1), dead)
  living = np.flatnonzero(~dead)
  expected = living[np.argsort(np.asarray(score)[living])[:2]]
  np.testing.assert_array_equal(lowest, expected)


# Rank and selection.


def test_rank_breaks_ties_by_index():
  score = np.array([1.0, 3.0, 1.0, 0.0, 3.0, -0.0])
  np.testing.assert_array_equal(toc.rank(score), [1, 4, 0, 2, 3, 5])
  dead = np.array([0, 1, 0, 0, 1, 0])
  order = toc.rank(score, dead)
  np.testing.assert_array_equal(order, [0, 2, 3, 5, 1, 4])
  assert order.dtype == np.int32


def test_select_takes_both_ends():
  score = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 6.0])
  np.testing.assert_array_equal(toc.indices(score, 3), [6, 0, 2])
  np.testing.assert_array_equal(toc.indices(score, 3, (0, 1)), [5, 1, 3])
  np.testing.assert_array_equal(
    toc.indices(score, 6, (2, 1)), [6, 0, 2, 4, 5, 1]
  )
  assert list(toc.indices(score, 5, (2, 1))) == [6, 0, 5]  # rounded down
  assert toc.indices(score, 1, (1, 1)).size == 0
  mask = toc.select(score, 5, (2, 1))
  np.testing.assert_array_equal(np.flatnonzero(mask), [0, 5, 6])
  assert toc.select(score, 7).all()


def test_select_of_a_traced_size_and_a_batch():
  scores = np.random.default_rng(0).normal(size=(3, 9))
  traced = jax.jit(toc.select, static_argnums=2)
  batched = jax.vmap(lambda score, keep: toc.select(score, keep, (1, 1)))
  for keep in (2, 5, 9):
    masks = batched(scores, jnp.full(3, keep))
    for score, mask in zip(scores, masks, strict=True):
      expected = toc.select(score, keep, (1, 1))
      np.testing.assert_array_equal(traced(score, keep, (1, 1)), expected)
      np.testing.assert_array_equal(mask, expected)


SIZES = ((3, 6, 23), (1, 12, 21), (9, 15, 18))


def test_sweep_equals_select_and_compiles_once(monkeypatch):
  traces, rank = [], toc.rank
  monkeypatch.setattr(toc, "rank", lambda *a: traces.append(0) or rank(*a))
  score = np.random.default_rng(0).normal(size=23)
  dead = np.arange(23) % 5 == 0
  runs = {sizes: toc.sweep(score, sizes, (2, 1), dead) for sizes in SIZES}
  assert len(traces) == 1
  for sizes, masks in runs.items():
    assert masks.shape == (3, 23)
    for keep, mask in zip(sizes, masks, strict=True):
      expected = toc.select(score, keep, (2, 1), dead)
      np.testing.assert_array_equal(mask, expected)


# Application.


def test_slice_dims():
  x = np.arange(12, dtype=np.float16).reshape(1, 3, 4)
  sliced = toc.slice_dims(x, np.array([1, 0, 0, 1]))
  assert sliced.dtype == x.dtype
  np.testing.assert_array_equal(sliced, x * [1, 0, 0, 1])


def test_requantize_matches_brute_force(x64):
  code, x = codes(11, 6), codes(40, 6, seed=1)
  masks = np.random.default_rng(2).random((4, 6)) < 0.6
  ours = jax.vmap(toc.requantize, (None, None, 0))(code, x, masks)
  assert ours.dtype == np.int32
  changed = 0
  for idx, mask in zip(ours, masks, strict=True):
    for n in range(len(x)):
      distance = [((x[n] - c)[mask] ** 2).sum() for c in code]
      assert idx[n] == np.argmin(distance)
      changed += idx[n] != np.argmin([((x[n] - c) ** 2).sum() for c in code])
  assert changed > 10
  grouped = toc.requantize(code, x.reshape(4, 10, 6), masks[0])
  np.testing.assert_array_equal(grouped.reshape(-1), ours[0])


def test_requantize_ties_go_to_the_lowest_code():
  code = np.array([[9, 9, 0], [1, 2, 8], [1, 2, 0], [1, 2, -3]], np.float32)
  x = np.array([[1, 2, 0], [1, 3, 0]], np.float32)
  np.testing.assert_array_equal(toc.requantize(code, x, [1, 1, 0]), [1, 1])
  np.testing.assert_array_equal(toc.requantize(code, x, None), [2, 2])


def test_apply_modes(x64):
  code, x = codes(11, 6), codes(40, 6, seed=1)
  mask = np.array([1, 0, 1, 1, 0, 0], bool)
  whole = np.asarray(codebook.assign(jnp.asarray(code), jnp.asarray(x)))
  part = np.asarray(toc.requantize(code, x, mask))
  assert (whole != part).any()
  jitted = jax.jit(toc.apply, static_argnames="mode")
  for mode, idx in (("slice", whole), ("requantize", part)):
    np.testing.assert_array_equal(jitted(code, x, mask, mode), code[idx] * mask)
    everything = toc.apply(code, x, np.ones(6), mode)
    np.testing.assert_array_equal(everything, code[whole])
  np.testing.assert_array_equal(toc.apply(code, x, mask), code[whole] * mask)


# The choice without labels.


def least(code, order, share):
  """The smallest number of dimensions, by pairs of codes."""
  pairs = itertools.combinations(code[:, order], 2)
  apart_D = np.sum([(a - b) ** 2 for a, b in pairs], 0)
  sums = [apart_D[: n + 1].sum() for n in range(len(apart_D))]
  return next(n + 1 for n, s in enumerate(sums) if s >= share * sums[-1])


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95, 0.999])
def test_choose_matches_pairs(x64, share):
  code = codes(9, 14) * np.linspace(0.1, 2, 14)
  order = np.asarray(toc.rank(toc.importance(code)))
  keep = toc.choose(code, share=share)
  assert type(keep) is int
  assert keep == least(code, order, share)
  by_variance = toc.importance(code, centered=True)
  order = np.asarray(toc.rank(by_variance))
  fewer = toc.choose(code, share=share, importance_D=by_variance)
  assert fewer == least(code, order, share) <= keep


def test_choose_leaves_out_dead_codes_and_dimensions():
  code, live = relu_codes(), np.arange(12) != 3
  dead = toc.dead(code)
  score = toc.importance(code, 0.7, 0.0)
  assert toc.choose(code, share=1, importance_D=score) == 10
  assert toc.choose(code, share=1, importance_D=score, dead_D=dead) == 7
  expected = toc.choose(code[live], share=0.5)
  code[3] = 1e6
  assert toc.choose(code, live, share=0.5) == expected


# Errors.

HALVES: Any = (0.5, 0.5)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: toc.importance(np.ones(4)), r"codes must be .*\(4,\)"),
    (lambda: toc.importance(np.ones((1, 4))), r"codes must be .*\(1, 4\)"),
    (lambda: toc.dead(np.ones((2, 3, 4))), "codes must be"),
    (lambda: toc.importance(np.ones((3, 4)), live_K=np.ones(4)), "live codes"),
    (lambda: toc.rank(np.ones((3, 4))), "importance must be"),
    (lambda: toc.rank(np.ones(4), np.ones(3)), "dead dimensions"),
    (lambda: toc.select(np.ones(4), 0), "keep must be whole and from 1 to 4"),
    (lambda: toc.select(np.ones(4), 5), "not 5"),
    (lambda: toc.select(np.ones(4), 2.0), "keep must be whole"),
    (lambda: toc.indices(np.ones(4), 5), "not 5"),
    (lambda: toc.select(np.ones(4), 2, (0, 0)), "top_share must be"),
    (lambda: toc.select(np.ones(4), 2, (2, -1)), "top_share must be"),
    (lambda: toc.indices(np.ones(4), 2, HALVES), "top_share must be"),
    (lambda: toc.sweep(np.ones(4), [2, 5]), r"not \[2, 5\]"),
    (lambda: toc.sweep(np.ones(4), 2), "sizes must be"),
    (lambda: toc.slice_dims(np.ones((2, 4)), np.ones(2)), "kept dimensions"),
    (
      lambda: toc.requantize(np.ones((3, 4)), np.ones((2, 5)), np.ones(4)),
      "rows .* do not fit",
    ),
    (
      lambda: toc.apply(np.ones((3, 4)), np.ones((2, 4)), np.ones(1)),
      "kept dimensions",
    ),
    (
      lambda: toc.apply(np.ones((3, 4)), np.ones((2, 4)), np.ones(4), "cut"),
      "slice, requantize, not 'cut'",
    ),
    (lambda: toc.choose(codes(), share=0), "share must be above 0"),
    (lambda: toc.choose(codes(), share=1.1), "share must be above 0"),
    (lambda: toc.choose(np.ones((3, 4))), "all equal"),
    (lambda: toc.choose(codes(), np.arange(7) == 2), "all equal"),
    (lambda: toc.check_keep(0, 9), "from 1 to 9, not 0"),
    (lambda: toc.check_keep(10, 9), "from 1 to 9, not 10"),
    (lambda: toc.check_keep(2, 9, (2, 1)), r"a multiple of 2 \+ 1, not 2"),
    (lambda: toc.check_keep(64, 256, (2, 1)), "not 64"),
  ],
)
def test_errors_name_the_fault(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_check_keep_accepts_exact_sizes():
  for keep, share in ((1, (1, 0)), (9, (2, 1)), (6, (2, 1)), (8, (0, 1))):
    toc.check_keep(keep, 9, share)
    assert toc.indices(np.ones(9), keep, share).size == keep
