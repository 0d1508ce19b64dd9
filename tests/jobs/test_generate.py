"""Generation end to end, and all that it refuses."""

import json
import types

import jax
import numpy as np
import pytest
import soundfile
import unlearned
from recordings import make_fsdd
from rich.console import Console
from test_configs import Watched, leaves

import unirep
from unirep.configs import generate, pretrain
from unirep.data import raw, sources
from unirep.data.procedural.digits import Digits
from unirep.inference.codes import Codes
from unirep.jobs import dispatch, generators
from unirep.jobs import generate as job
from unirep.reports import generated, tables
from unirep.runtime.errors import InputError

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def fsdd(tmp_path_factory):
  return str(make_fsdd(tmp_path_factory.mktemp("fsdd")))


@pytest.fixture(scope="module")
def model(tmp_path_factory, fsdd):
  """The work directory of two tiny steps on digits."""
  workdir = tmp_path_factory.mktemp("digits") / "run"
  config = pretrain.get_config("size=tiny,data=digits")
  config.data.update({"train_size": 24, "test_size": 16, "fsdd": fsdd})
  unlearned.run(config, workdir, QUIET)
  return workdir


def config_of(model, fsdd, **changes):
  config = generate.get_config("size=tiny,data=digits")
  config.checkpoint, config.data.fsdd = str(model), fsdd
  config.update(changes)
  return config


@pytest.fixture(scope="module")
def made(model, fsdd, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("made")
  config = config_of(model, fsdd)
  watched = Watched(config)
  dispatch.run(watched, workdir, QUIET)
  ranking = {f"toc.{key}" for key in config.toc}  # of fewer dimensions
  unread = {*leaves(config)} - watched.seen - ranking
  assert not unread, "a key that nobody reads does nothing"
  return workdir


def test_every_way_direction_and_score_has_a_row(made):
  results = json.loads((made / "results.json").read_text())
  rows = results["rows"]
  modalities = ("video", "audio", "text")
  for target in ("video", "audio"):
    ways = {
      (r["representation"], r["source"]) for r in rows if r["target"] == target
    }
    assert ways == {
      *((way, m) for way in ("flow", "decoder") for m in modalities),
      *((way, target) for way in ("shuffled codes", "mean", "real")),
    }
  assert {r["metric"] for r in rows} == {
    *("accuracy", "r@1", "r@10", "frechet", "diversity")
  }
  assert len(rows) == 2 * 9 * 5
  text = (made / "results.md").read_text()
  found = {
    r["metric"]: r["value"]
    for r in rows
    if (r["target"], r["representation"], r["source"])
    == ("video", "flow", "text")
  }
  cells = (
    f"{x:.2f}" if name in ("frechet", "diversity") else f"{100 * x:.1f}"
    for name, x in found.items()
  )
  assert f"| flow | text | {' | '.join(cells)} |" in text


def test_numbers_have_units_and_half_an_interval():
  row = {"value": 0.5, "low": 0.4, "high": 0.6, "seeds": 3}
  assert tables._spread(row | {"metric": "accuracy"}) == "50.0 ± 10.0"
  assert tables._spread(row | {"metric": "frechet"}) == "0.50 ± 0.10"


def test_pictures_and_sounds_are_there(made):
  for name in ("samples.png", "samples.pdf"):
    assert (made / name).stat().st_size > 1000
  written = sorted(p.name for p in (made / "sounds").glob("*.wav"))
  if not generated.audible():
    assert not written
    return
  assert written == [
    f"{i:02d}_{name}.wav"
    for i in range(2)
    for name in ("from_audio", "from_text", "from_video", "real")
  ]
  wave, rate = soundfile.read(made / "sounds" / written[0])
  assert rate == 8000
  assert len(wave) == pytest.approx(10 * rate, rel=0.01)
  assert abs(wave).max() > 0.5


@pytest.mark.slow
def test_several_checkpoints_have_a_mean(model, fsdd, tmp_path):
  config = config_of(model, fsdd, targets=("video",))
  config.checkpoints, config.toc.keep = (f"{model}/.",), 8
  found = dispatch.run(config, tmp_path, QUIET)
  mean = [row for row in found["rows"] if row["checkpoint"] is None]
  assert len(mean) == 9 * 5
  assert {row["seeds"] for row in mean} == {2}
  assert len(found["rows"]) == 3 * 9 * 5
  assert " ± " in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
  ("changes", "line"),
  [
    ({"checkpoint": ""}, "checkpoint is empty"),
    ({"split": "train"}, "split='train'"),
    ({"targets": ("text",)}, "nothing of 'text' that can be seen or heard"),
    ({"targets": ("smell",)}, "nothing of 'smell'"),
    ({"label": "nothing"}, "label=nothing"),
    ({"label": "class", "split": "x"}, "split='x'"),
    ({"at": ()}, "at=()"),
    ({"at": (1.5,)}, "at[0]=1.5 must be"),
    ({"toc": {"keep": 1000}}, "toc.keep=1000"),
    ({"sampling_steps": 0}, "sampling_steps=0"),
    ({"flow": {"reach": 2}}, "flow.reach=2"),
    ({"flow": {"reach": -1}}, "flow.reach=-1"),
    ({"flow": {"drop": 1.0}}, "flow.drop=1.0"),
    ({"flow": {"decay": 1.0}}, "flow.decay=1.0"),
    ({"flow": {"learning_rate": -1.0}}, "flow.learning_rate=-1.0"),
    ({"flow": {"drop": 0.0}, "guidance": 2.0}, "needs flow.drop"),
    ({"guidance": float("nan")}, "guidance=nan"),
    ({"seed": -1}, "seed=-1"),
    ({"data": {"test_size": 0}}, "data.test_size=0"),
    ({"data": {"validation_size": 0}, "split": "validation"}, "no samples"),
    ({"data": {"source": "synthetic"}}, "can be shown"),
  ],
)
def test_what_is_wrong_is_said_in_one_line(
  model, fsdd, tmp_path, changes, line
):
  config = config_of(model, fsdd)
  if changes.get("data", {}).get("source"):
    del config.data.fsdd
  config.update(changes)
  with pytest.raises(InputError) as caught:
    dispatch.run(config, tmp_path / "new", QUIET)
  assert line in str(caught.value)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "new").exists()


def test_codes_are_decoded_to_features(model):
  tokenizer = unirep.load(model)
  rng = np.random.default_rng(0)
  audio = rng.standard_normal((5, 10, 128)).astype(np.float32)
  codes = tokenizer.encode(audio=audio)["audio"]
  made = tokenizer.decode(codes, "audio", audio)
  assert made.shape == audio.shape
  some = tokenizer.decode(
    np.where(np.arange(10) < 4, codes, -1), "audio", audio
  )
  np.testing.assert_array_equal(some[:, 4:], 0)
  np.testing.assert_allclose(some[:, :4], made[:, :4], atol=1e-4)
  np.testing.assert_array_equal(
    tokenizer.decode(codes, "audio", [*audio]), made
  )
  equal = tokenizer.decode(codes[:1], "audio", audio)
  np.testing.assert_allclose(made[:1], equal, atol=1e-4)
  video = rng.standard_normal((2, 10, 7, 7, 64)).astype(np.float32)
  assert tokenizer.decode(codes, "video", video).shape == (5, 10, 7, 7, 64)
  for wrong, name, like, line in (
    (codes.astype(float), "audio", audio, "integers"),
    (codes - 100, "audio", audio, "must lie in 0"),
    ([[1], [1, 2]], "audio", audio, "must be integers"),
    (codes[:0], "audio", audio, "must lie in 0"),
    (codes[:, :3], "audio", audio, "3 steps"),
    (codes, "smell", audio, "no modality"),
  ):
    with pytest.raises(InputError, match=line):
      tokenizer.decode(wrong, name, like)


def test_raw_steps_are_those_of_the_features(fsdd):
  source = Digits("test", size=6, fsdd=fsdd)
  shown = source.raw()
  for i in range(6):
    sample = source[i]
    audio = shown["audio"].at(i)
    np.testing.assert_array_equal(
      audio.reshape(10, -1), sample["features"]["audio"]
    )
    image = shown["video"].at(i)[..., 0]
    assert image.shape == (10, 8, 8)
    background = sample["labels"]["segments"] == 10
    assert not image[background].any()
    assert image[~background].max((1, 2)).min() > 0.5
  data = {"source": "digits", "fsdd": fsdd, "validation_size": 3}
  data |= {"train_size": 4, "test_size": 6}
  part = sources.source(data, "clips", "validation")
  whole = Digits("train", size=7, fsdd=fsdd)
  np.testing.assert_array_equal(
    raw.of(part, "video", "").at(1), whole.raw()["video"].at(5)
  )


def test_a_sound_can_be_found_again_in_its_spectrum(fsdd):
  source = Digits("test", size=1, fsdd=fsdd)
  known = source.raw()["audio"]
  cell = known.show(known.at(0))
  assert cell.kind == raw.SOUND
  assert cell.values.shape == (1000, 129)
  assert (cell.values >= 0).all()
  with pytest.raises(InputError, match="can't be heard"):
    generated.wave(cell._replace(kind=raw.PICTURES))


def test_a_model_of_other_data_is_refused_at_once(trained, fsdd, tmp_path):
  config = config_of(trained, fsdd)
  with pytest.raises(InputError, match=r"audio|video|text"):
    dispatch.run(config, tmp_path / "new", QUIET)
  assert not (tmp_path / "new").exists()


def test_classes_that_training_lacks_are_refused():
  options = types.SimpleNamespace(label="class", split="test")
  steps = np.array([[0, 2], [1, 2]])
  assert generators.classes(options, steps, steps[:1]) == 2
  assert generators.classes(options, np.array([0, 1]), np.array([1, -1])) == 2
  with pytest.raises(InputError, match="class 1 is in split=test"):
    generators.classes(options, steps[:1], steps)


def test_one_code_is_that_of_all_steps():
  one = np.array([[3], [4]])
  assert generators.stepwise(one, 2).tolist() == [[3, 3], [4, 4]]
  assert generators.stepwise(one.repeat(2, 1), 2).shape == (2, 2)
  with pytest.raises(InputError, match="2 steps"):
    generators.stepwise(one.repeat(2, 1), 3)


def test_samples_that_are_drawn_are_of_many_classes():
  label = np.repeat(np.arange(10), 7)
  assert label[job.chosen(label, 10)].tolist() == [*range(10)]
  assert len(job.chosen(label[:3], 10)) == 3
  # From the first to the last of their order; of equals, the earlier one.
  mixed = np.array([2, 0, 1, 0, 2, 1])
  assert job.chosen(mixed, 3).tolist() == [1, 2, 4]
  assert job.chosen(mixed, 99).tolist() == [1, 3, 2, 5, 0, 4]
  # Samples of many steps by their first event; the last label is background.
  steps = np.array([[3, 1], [0, 3], [3, 2]])
  assert job.chosen(steps, 3).tolist() == [1, 0, 2]


def test_what_is_drawn_of_a_sample_is_its_first_step_with_an_event():
  label = np.array([[3, 3, 1], [3, 3, 3], [-1, 0, 3], [2, 0, 3]])
  found = job._at(label, np.array([3, 0, 2]), 3)
  assert found == [slice(0, 1), slice(2, 3), slice(1, 2)]
  assert job._at(label[:, 0], np.array([3, 0]), 3) == [slice(None)] * 2


def test_a_step_sees_itself_and_as_many_on_either_side():
  config = generate.get_config("data=digits")
  config.checkpoint = "runs/x"
  for reach in (1, 3, 5, 7):
    config.flow.reach = reach
    job.check(config)
  config.flow.reach = 4
  with pytest.raises(InputError, match=r"flow\.reach=4 must be odd"):
    job.check(config)


def test_the_loss_is_told_every_500_steps_and_at_the_end():
  told = []
  console = Console(quiet=True)
  console.print = lambda text, **_: told.append(text)
  for step in range(100, 1201, 100):
    job._say(console, "video", 1200, step, 0.25)
  assert [text.split()[2] for text in told] == ["500", "1000", "1200"]
  assert told[0] == "video: step 500 of 1200, loss 0.250"


def made_of(codes, **options):
  """What each way makes, where a flow and a decoder return codes as numbers."""
  x = np.ones((2, 3, 1, 1, 1)) * 7
  learned = generators.Learned(
    *(None, x, None, None, None),
    mean=np.full((3, 1, 1, 1), 5.0),
    decoder=lambda idx: np.float64(idx)[..., None, None, None] + 100,
  )
  model = types.SimpleNamespace(modalities=("audio", "text", "video"))
  split = generators.Split(None, codes, None)
  key = jax.random.key(0)
  bound = types.SimpleNamespace(seed=0, **options)
  return generators.make(bound, model, "video", split, learned, key)


def test_every_way_is_told_the_codes_it_says(monkeypatch):
  asked = []

  def sample(flow, key, idx, **options):
    asked.append(options)
    return np.float64(idx)[..., None, None, None]

  monkeypatch.setattr(generators.flow, "sample", sample)
  idx = {
    "video": np.arange(6).reshape(2, 3),
    "audio": np.arange(10, 16).reshape(2, 3),
    "text": np.array([[20], [21]]),
  }
  made = made_of(Codes(idx, {}, {}), guidance=1.5, sampling_steps=11)
  found = {key: x[..., 0, 0, 0].tolist() for key, x in made.items()}
  shuffled = found.pop(("shuffled codes", "video"))
  assert sorted(np.ravel(shuffled)) == [*range(6)]
  assert shuffled != idx["video"].tolist()
  whole = {**idx, "text": idx["text"].repeat(3, 1)}
  assert found == {
    **{("flow", m): x.tolist() for m, x in whole.items()},
    **{("decoder", m): (x + 100.0).tolist() for m, x in whole.items()},
    ("mean", "video"): [[5.0] * 3] * 2,
    ("real", "video"): [[7.0] * 3] * 2,
  }
  assert next(key for key in made if key[0] == "flow") == ("flow", "video")
  assert asked == [{"guidance": 1.5, "steps": 11}] * 4


def test_what_is_not_finite_is_not_judged(monkeypatch):
  def sample(flow, key, idx, **options):
    x = np.float64(idx)[..., None, None, None]
    x[0, 0] = np.nan
    return x

  monkeypatch.setattr(generators.flow, "sample", sample)
  codes = Codes({m: np.ones((2, 3), int) for m in ("audio", "video")}, {}, {})
  codes.idx["text"] = np.ones((2, 1), int)
  with pytest.raises(InputError, match="'video' from the flow are not finite"):
    made_of(codes, guidance=1.0, sampling_steps=2)


@pytest.mark.parametrize("there", [True, False])
def test_sounds_need_librosa(monkeypatch, there):
  find = {"librosa": object() if there else None}.get
  monkeypatch.setattr(generated.importlib.util, "find_spec", find)
  assert generated.audible() == there
