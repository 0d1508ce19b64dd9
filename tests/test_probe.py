import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.tasks import probe

CODES, DIM, CLASSES, T = 8, 6, 4, 3
OPTIONS = {"steps": 150, "batch_size": 32, "learning_rate": 2e-2}


def code_matrix():
  return np.random.default_rng(0).normal(size=(CODES, DIM)).astype(np.float32)


def samples(count, seed, shift=0):
  """The class c speaks in codes 2c and 2c + 1, shifted per modality."""
  rng = np.random.default_rng(seed)
  label = rng.permutation(np.arange(count) % CLASSES)
  idx = 2 * label[:, None] + rng.integers(0, 2, (count, T))
  return ((idx + shift) % CODES).astype(np.int32), label.astype(np.int32)


def transfer(relabel=lambda label: label, shift=0):
  train, train_label = samples(160, 1)
  other, test_label = samples(200, 2, shift)
  own, _ = samples(200, 2)
  train_label, test_label = relabel(train_label), relabel(test_label)
  shifted = (train + shift) % CODES
  return probe.transfer(
    jax.random.key(0),
    code_matrix(),
    {"a": train, "b": shifted},
    train_label,
    {"a": own, "b": other},
    test_label,
    **OPTIONS,
  )


def test_one_language_transfers():
  score = transfer()
  assert set(score) == {"a->b", "b->a"}
  for result in score.values():
    assert set(result) == {"accuracy", "ceiling", "chance"}
    assert result["accuracy"] >= 0.99
    assert result["ceiling"] >= 0.99
    assert result["chance"] == 0.25


def test_foreign_codes_do_not_transfer_though_each_is_separable():
  """b says class c with the codes of class c + 1."""
  for result in transfer(shift=2).values():
    assert result["ceiling"] >= 0.99
    assert result["accuracy"] <= 0.05


def test_shuffled_labels_give_chance():
  for result in transfer(np.random.default_rng(3).permutation).values():
    assert abs(result["accuracy"] - 0.25) < 0.1
    assert abs(result["ceiling"] - 0.25) < 0.1


def test_chance_is_the_most_frequent_test_class_and_codes_are_scaled():
  train, train_label = samples(160, 1)
  idx, label = samples(40, 2)
  keep = np.r_[np.flatnonzero(label == 1), np.flatnonzero(label != 1)[:6]]
  idx, label = idx[keep], label[keep]
  score = probe.transfer(
    jax.random.key(0),
    1e-3 * code_matrix() + 5,  # tiny spread around a far mean
    {"a": train, "b": train},
    train_label,
    {"a": idx, "b": idx},
    label,
    **OPTIONS,
  )
  assert score["a->b"]["chance"] == 10 / 16
  assert score["a->b"]["accuracy"] >= 0.99


def test_head_matches_numpy():
  params = jax.tree.map(np.asarray, probe.init(jax.random.key(0), DIM, CLASSES))
  x = np.random.default_rng(0).normal(size=(5, T, DIM)).astype(np.float32)
  hidden, classes = params["hidden"], params["classes"]
  y = (x @ hidden["kernel"] + hidden["bias"]).max(1)
  expected = y @ classes["kernel"] + classes["bias"]
  np.testing.assert_allclose(probe.apply(params, x), expected, atol=1e-5)
  for leaf in jax.tree.leaves(params):
    assert np.abs(leaf).max() <= 1 / np.sqrt(DIM)


def test_unit_variance_counts_the_codes_in_use():
  code, idx = code_matrix(), np.array([[0, 1], [1, 3]])
  used = code[[0, 1, 1, 3]]
  expected = (code - used.mean(0)) / np.sqrt(used.var(0).mean())
  np.testing.assert_allclose(
    probe.unit_variance(code, idx), expected, atol=1e-5
  )
  alone = probe.unit_variance(code, np.zeros((2, 2), int))
  assert np.isfinite(alone).all()


@pytest.mark.parametrize(
  ("right", "share"), [([0, 1, 2, 3], 1), ([0, 1, 3, 2], 0.5)]
)
def test_accuracy(right, share):
  code = np.eye(4, dtype=np.float32)
  params = {
    "hidden": {"kernel": np.eye(4), "bias": np.zeros(4)},
    "classes": {"kernel": np.eye(4), "bias": np.zeros(4)},
  }
  idx = np.arange(4)[:, None]
  assert probe.accuracy(params, code, idx, np.array(right)) == share


def test_the_table_of_hidden_codes_is_a_short_cut_and_no_more():
  params = probe.init(jax.random.key(1), DIM, CLASSES)
  code = code_matrix()
  idx, _ = samples(20, 4)
  ours = probe.apply_to_codes(params, code, idx)
  np.testing.assert_allclose(ours, probe.apply(params, code[idx]), atol=1e-6)


def test_scores_are_means_over_seeds():
  train, train_label = samples(40, 1)
  test, label = samples(40, 2, shift=1)
  options = {"steps": 3, "batch_size": 8, "learning_rate": 1e-3}
  args = ({"a": train, "b": train}, train_label, {"a": test, "b": test}, label)
  key = jax.random.key(0)
  three = probe.transfer(key, code_matrix(), *args, seeds=3, **options)
  code = probe.unit_variance(code_matrix(), np.stack([train, train]))
  total = 0
  for key_S in jax.random.split(key, (3, 2)):
    params = probe.fit(
      key_S[0],
      code,
      *map(jnp.asarray, (train, train_label)),
      classes=CLASSES,
      **options,
    )
    total += float(probe.accuracy(params, code, test, label))
  assert three["a->b"]["accuracy"] == pytest.approx(total / 3, abs=1e-6)
