"""Checkpoints of the field come in, and go out as they came."""

import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import official_files
import pytest
from official_files import Widths
from rich.console import Console

import unirep
from unirep.configs import convert, pretrain
from unirep.configuration import build
from unirep.files import state_dicts, torch_writer
from unirep.interop.model import flat
from unirep.jobs import dispatch
from unirep.runtime.errors import InputError
from unirep.train import digests, reading

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = pathlib.Path(
  os.environ.get("UNIREP_GOLDEN", ROOT.parent / "shared" / "golden")
)
OFFICIAL = GOLDEN / "torch_checkpoint"
FORMS = {
  "AVT": ("audio", "video", "text"),
  "AV": ("audio", "video"),
  "AT": ("audio", "text"),
}


def converted(variant, workdir, **keys):
  config = convert.get_config(variant)
  config.update({name: str(x) for name, x in keys.items()})
  return dispatch.run(config, workdir, Console(quiet=True))


def imported(value, folder):
  folder.mkdir(exist_ok=True)
  torch_writer.write(folder / "its.pt", value)
  converted("import", folder / "run", path=folder / "its.pt")
  return folder / "run"


def kept(workdir):
  """Parameters and codebook as they are kept, and the settings."""
  with jax.enable_x64(True):
    params, book, settings = reading.read_model(workdir, build.shapes)
    arrays = flat({"params": params, "codebook": book})
    return {name: np.asarray(x) for name, x in arrays.items()}, settings


def same(one, other):
  assert one.keys() == other.keys()
  for name, x in one.items():
    assert x.dtype == other[name].dtype, name
    np.testing.assert_array_equal(x, other[name], name)


@pytest.fixture(scope="module")
def fcid(tmp_path_factory):
  return imported(official_files.fcid_file(), tmp_path_factory.mktemp("fcid"))


@pytest.fixture(scope="module")
def dcid(tmp_path_factory):
  folder = tmp_path_factory.mktemp("dcid")
  return {
    form: imported(official_files.dcid_file(modalities), folder / form)
    for form, modalities in FORMS.items()
  }


@pytest.fixture(scope="module")
def out(fcid, dcid):
  """What each of them goes out as."""
  files = {}
  for form, run in {"FCID": fcid, **dcid}.items():
    converted("official", run.parent / "out", checkpoint=run)
    files[form] = run.parent / "out" / "model.pt"
  return files


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
  path = OFFICIAL / "official_layout_small.pt.gz"
  if not path.exists():
    pytest.skip("no golden checkpoint")
  folder = tmp_path_factory.mktemp("golden")
  with gzip.open(path) as packed, (folder / "small.pt").open("wb") as file:
    shutil.copyfileobj(packed, file)
  result = converted("import", folder / "run", path=folder / "small.pt")
  assert {*result["left_out"]} == {
    *(f"{x}_self_att.encoder_layer" for x in "atv"),
    *(f"v_gen_encoder.affine_video_{x}" for x in ("ave", "self")),
    "v_gen_encoder.ave_v_att",
  }
  return folder / "run", np.load(OFFICIAL / "codes_expected.npz")


def test_codes_of_the_official_checkpoint(golden):
  model, expected = unirep.load(golden[0]), golden[1]
  x = {m: expected[f"in/{m}_feat"].astype(np.float32) for m in model.modalities}
  steps, clips, vectors = (
    model.encode(x),
    model.encode_clips(x),
    model.states(x),
  )
  for m in model.modalities:
    for end, codes, general in (
      ("split", steps[m], vectors[m].general_NxTxD),
      ("ret", clips[m], vectors[m].whole_NxD[:, None]),
    ):
      if (m, end) == ("text", "split"):
        continue  # of text there is a code a clip
      name = f"{m.title()}_VQ_Encoder_C_{end}_indices"
      theirs = expected[f"out/pre_quantisation/{name}"]
      np.testing.assert_allclose(general, theirs, rtol=0, atol=1e-5)
      sure = expected[f"out/margin/{name}"] > 1e-6
      wanted = expected[f"out/{name}"]
      np.testing.assert_array_equal(codes.ravel()[sure], wanted[sure])
      assert sure.all()


def test_vectors_of_the_official_checkpoint_in_float64(golden):
  with jax.enable_x64(True):
    params, book, settings = reading.read_model(golden[0], build.shapes)
    network, expected = build.network(build.from_json(settings)), golden[1]
    x = {m: expected[f"in/{m}_feat"] for m in network.order}
    for clip, end in ((False, "split"), (True, "ret")):
      general = network.general(params, x, {}, clip=clip)
      codes = network.encode(params, book["code_KxD"], x, {}, clip=clip)
      for m in network.order:
        kind = "ret" if m == "text" else end
        name = f"{m.title()}_VQ_Encoder_C_{kind}_indices"
        theirs = expected[f"out/pre_quantisation/{name}"]
        np.testing.assert_allclose(general[m], theirs, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(
          np.ravel(codes[m]), expected[f"out/{name}"]
        )


def test_its_settings_say_where_it_is_from(fcid):
  settings = unirep.load(fcid).settings
  about = settings["imported"]
  assert (about["file"], about["epoch"]) == ("its.pt", 3)
  assert len(about["sha256"]) == 64
  like = build.as_json(
    pretrain.get_config("preset=released,data=arrays,size=paper")
  )
  assert settings["loss"] == like["loss"]
  assert settings["codes"] == like["codes"]
  assert json.loads((fcid / "config.json").read_text())["job"] == "convert"


def test_an_official_file_goes_out_as_it_came(fcid, out, tmp_path):
  came = official_files.fcid_file()
  with state_dicts.opened(out["FCID"]) as saved:
    value = saved.value
    assert (value["epoch"], value["total_step"]) == (3, 1234)
    there = {n: saved.array(x) for n, x in value["Encoder_parameters"].items()}
  assert there.keys() == came["Encoder_parameters"].keys()
  for name, x in came["Encoder_parameters"].items():
    if "encoder_layer." in name:
      x = came["Encoder_parameters"][
        name.replace("encoder_layer.", "encoder.layers.0.")
      ]
    elif "affine_video" in name or "ave_v_att" in name:
      x = np.zeros_like(x)
    assert there[name].dtype == np.float64
    np.testing.assert_array_equal(there[name], x, name)
  converted("import", tmp_path / "again", path=out["FCID"])
  same(kept(fcid)[0], kept(tmp_path / "again")[0])


def test_torch_reads_what_goes_out(out):
  torch = pytest.importorskip("torch")
  for path in out.values():
    found = torch.load(path, weights_only=True)
    with state_dicts.opened(path) as saved:
      for part, names in found.items():
        if isinstance(names, int):
          assert saved.value[part] == names
          continue
        for name, x in names.items():
          mine = saved.array(saved.value[part][name])
          np.testing.assert_array_equal(x.numpy(), mine)


@pytest.mark.parametrize("form", FORMS)
def test_dcid_goes_out_as_it_came(dcid, out, form, tmp_path):
  converted("import", tmp_path / "again", path=out[form])
  same(kept(dcid[form])[0], kept(tmp_path / "again")[0])


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_torch_comes_in(fcid, tmp_path, legacy):
  """With an optimizer beside, as training scripts save it."""
  torch = pytest.importorskip("torch")
  value = official_files.fcid_file()
  module = torch.nn.Linear(3, 2)
  adam = torch.optim.Adam(module.parameters())
  module(torch.ones(1, 3)).sum().backward()
  adam.step()
  encoder = {
    f"module.{n}": torch.from_numpy(x)
    for n, x in value["Encoder_parameters"].items()
  }
  value["Encoder_parameters"] = torch.nn.Module().state_dict() | encoder
  value["optimizer"] = adam.state_dict()
  value["CPC_parameters"] = module.state_dict()
  torch.save(
    value, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy
  )
  result = converted("import", tmp_path / "run", path=tmp_path / "a.pt")
  assert {"CPC_parameters", "optimizer"} < {*result["left_out"]}
  same(kept(fcid)[0], kept(tmp_path / "run")[0])


def test_safetensors_and_back(fcid, dcid, trained, tmp_path):
  for i, run in enumerate([fcid, dcid["AT"], trained]):
    there, back = tmp_path / f"there{i}", tmp_path / f"back{i}"
    converted("safetensors", there, checkpoint=run)
    converted("import", back, path=there)
    arrays, settings = kept(run)
    again, theirs = kept(back)
    same(arrays, again)
    assert settings == theirs


def test_what_is_written_is_read_by_the_package(fcid, tmp_path):
  tensors = pytest.importorskip("safetensors.numpy")
  converted("safetensors", tmp_path / "out", checkpoint=fcid)
  found = tensors.load_file(tmp_path / "out" / "model.safetensors")
  same(kept(fcid)[0], found)


@pytest.mark.parametrize("form", FORMS)
def test_codes_of_dcid_are_those_of_torch(dcid, form):
  torch = pytest.importorskip("torch")
  modalities, w = FORMS[form], Widths(text=9)
  value = official_files.dcid_file(modalities)
  encoder = {
    n: torch.from_numpy(x) for n, x in value["Encoder_parameters"].items()
  }

  def below(name):
    return {
      n[len(name) + 1 :]: x for n, x in encoder.items() if n.startswith(name)
    }

  def seconds(m, x):
    if m == "text":
      net = torch.nn.LSTM(
        w.text, w.dim // 2, 2, bidirectional=True, batch_first=True
      ).double()
      net.load_state_dict(
        {
          n: torch.from_numpy(y)
          for n, y in value["Text_ar_lstm_parameters"].items()
        }
      )
      x = net(x)[0]
    if m == "video":
      gate = below("video_semantic_encoder.se_layer")
      mean = x.mean((2, 3))
      gate = torch.sigmoid(
        torch.relu(mean @ gate["0.weight"].T) @ gate["2.weight"].T
      )
      x = x.shape[2] * x.shape[3] * mean * (1 + gate)
    names = below(f"{m}_self_att")
    x = x @ names["affine_matrix.weight"].T + names["affine_matrix.bias"]
    for i in range(2):
      net = torch.nn.TransformerEncoderLayer(
        w.dim, 4, w.hidden, batch_first=True
      )
      net = net.double().eval()
      net.load_state_dict(below(f"{m}_self_att.encoder.layers.{i}"))
      x = net(x)
    return torch.cdist(x, encoder["Cross_quantizer.embedding"]).argmin(-1)

  rng, model = np.random.default_rng(1), unirep.load(dcid[form])
  shape = {"video": (7, 7, w.video), "audio": (w.audio,), "text": (w.text,)}
  x = {m: rng.normal(size=(5, 6, *shape[m])) for m in modalities}
  found = model.encode({m: y.astype(np.float32) for m, y in x.items()})
  assert {*found} == {*modalities}
  with torch.no_grad():
    for m in modalities:
      theirs = seconds(m, torch.from_numpy(x[m])).numpy()
      np.testing.assert_array_equal(found[m], theirs)
  like = x["audio"].astype(np.float32)
  assert model.decode(found["audio"], "audio", like=like).shape == like.shape


def test_without_decoders_nothing_is_decoded(fcid):
  model = unirep.load(fcid)
  with pytest.raises(InputError, match="without decoders"):
    model.decode(
      np.zeros((1, 2), int), "audio", like=np.zeros((1, 2, 6), np.float32)
    )


def test_codes_at_the_origin_are_not_asleep(tmp_path):
  value = official_files.fcid_file()
  value["Encoder_parameters"]["Cross_quantizer_coarse.embedding"][3] *= 1e-200
  model = unirep.load(imported(value, tmp_path))
  assert model.awake.all()


def test_all_that_is_wrong_with_names_is_one_line(tmp_path):
  value = official_files.fcid_file()
  encoder = value["Encoder_parameters"]
  del encoder["va2vat.linear.bias"]
  encoder["new\n`name`"] = np.zeros(3)
  with pytest.raises(InputError) as caught:
    imported(value, tmp_path)
  line = str(caught.value)
  assert "lacks: 'va2vat.linear.bias'" in line
  assert r"has too many: 'new\n`name`'" in line
  assert "\n" not in line
  assert not (tmp_path / "run").exists()


def test_all_that_is_wrong_with_shapes_is_one_line(tmp_path):
  value = official_files.fcid_file()
  encoder = value["Encoder_parameters"]
  encoder["va2vat.linear.bias"] = np.zeros(3)
  encoder["Cross_quantizer_coarse.ema_count"] = np.zeros((2, 5))
  with pytest.raises(InputError) as caught:
    imported(value, tmp_path)
  assert "va2vat.linear.bias (3,), not (8,)" in str(caught.value)
  assert "ema_count (2, 5), not (10,)" in str(caught.value)


def test_the_same_again_changes_nothing(tmp_path):
  run = imported(official_files.fcid_file(), tmp_path)
  before = kept(run)[0]
  path = tmp_path / "its.pt"
  assert not converted("import", run, path=path)["new"]
  # As if it had been killed before it wrote the digests.
  (run / "checkpoints" / digests.FILE).unlink()
  assert not converted("import", run, path=path)["new"]
  assert digests.known(run / "checkpoints").keys() == {"1234"}
  # And as if the disk had lost a part.
  part = next((run / "checkpoints" / "1234" / "model" / "d").iterdir())
  part.write_bytes(b"")
  assert converted("import", run, path=path)["new"]
  same(before, kept(run)[0])
  for changes in ({"epoch": 4}, {"total_step": 5}):
    torch_writer.write(path, official_files.fcid_file() | changes)
    with pytest.raises(InputError, match="of another file"):
      converted("import", run, path=path)


@pytest.mark.parametrize("arg", ["preset=clean", "preset=released,data=utd"])
def test_what_is_none_of_theirs_does_not_go_out(arg):
  from unirep.interop import releasing
  from unirep.interop.model import Model

  settings = build.as_json(pretrain.get_config(arg))
  with pytest.raises(InputError, match="official networks") as caught:
    releasing.state_dicts(Model({}, {}, settings, 1))
  assert "\n" not in str(caught.value)


def test_other_jobs_take_it_as_their_own(fcid, tmp_path):
  from unirep.configs import toc

  config = toc.get_config()
  config.codebook, config.keep = str(fcid), (2, 4)
  found = dispatch.run(config, tmp_path / "toc", Console(quiet=True))
  assert (found["codes"], found["dimensions"]) == (10, 8)


def measured(*command):
  """Seconds that a process takes, and the most memory that it had, in GB."""
  began = time.monotonic()
  process = subprocess.Popen([sys.executable, *command], cwd=ROOT)
  _, status, usage = os.wait4(process.pid, 0)
  process.returncode = 0  # it is gone, and must not be waited for
  assert status == 0
  return time.monotonic() - began, usage.ru_maxrss * 1024 / 1e9


@pytest.mark.slow
def test_a_checkpoint_of_full_size(tmp_path):
  """In a minute and 3 GB, and out again to the bit."""
  value = official_files.fcid_file(official_files.FULL)
  encoder = value["Encoder_parameters"]
  assert sum(x.size for x in encoder.values()) == 78_420_001
  torch_writer.write(tmp_path / "full.pt", value)
  job = "-m", "unirep.main", "--config=configs/convert.py:"
  for what, key, source in (
    ("import", "path", "full.pt"),
    ("official", "checkpoint", "import"),
  ):
    seconds, memory = measured(
      *job[:2],
      f"{job[2]}{what}",
      f"--config.{key}={tmp_path / source}",
      f"--workdir={tmp_path / what}",
    )
    sys.stdout.write(f"{what}: {seconds:.1f} s, {memory:.2f} GB\n")
    assert seconds < 60
    assert memory < 3
  with state_dicts.opened(tmp_path / "official" / "model.pt") as saved:
    for name, x in saved.value["Encoder_parameters"].items():
      if not official_unused(name):
        np.testing.assert_array_equal(saved.array(x), encoder[name], name)
  shutil.rmtree(tmp_path)  # two gigabytes, which pytest would keep


def official_unused(name):
  return any(x in name for x in ("encoder_layer.", "affine_video", "ave_v_att"))


@pytest.mark.slow
def test_tasks_and_retrieval_take_it_as_their_own(tmp_path):
  """Codes of a file that is as wide as a generated source."""
  from unirep.configs import evaluate, retrieve
  from unirep.data.procedural.synthetic import SyntheticEvents

  x = SyntheticEvents(split="train", size=1)[0]["features"]
  widths = Widths(**{m: x[m].shape[-1] for m in ("video", "audio", "text")})
  run = imported(official_files.fcid_file(widths), tmp_path)
  for module in (evaluate, retrieve):
    config = module.get_config("size=tiny")
    config.checkpoint = str(run)
    found = dispatch.run(config, tmp_path / config.job, Console(quiet=True))
    assert found["rows"]
