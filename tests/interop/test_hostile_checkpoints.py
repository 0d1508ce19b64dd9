"""Files that are broken or of strangers: one line, nothing run or written."""

import hashlib
import io
import json
import os
import pathlib
import struct
import time
import zipfile

import numpy as np
import official_files
import pytest
from rich.console import Console
from state_files import GLOBAL, legacy, text

from unirep.configs import convert
from unirep.files import state_dicts, torch_writer
from unirep.jobs import dispatch
from unirep.runtime.errors import InputError

MARK = "run"  # what a pickle would make, were it run


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
  """Where pickles would leave their mark."""
  before = pathlib.Path.cwd()
  os.chdir(tmp_path_factory.mktemp("lies outside"))
  yield
  assert not [*pathlib.Path.cwd().iterdir()]
  os.chdir(before)


def refused(path, tmp_path, match="."):
  config = convert.get_config("import")
  config.path = str(path)
  began = time.monotonic()
  with pytest.raises(InputError, match=match) as caught:
    dispatch.run(config, tmp_path / "out", Console(quiet=True))
  assert time.monotonic() - began < 10
  line = str(caught.value)
  assert "\n" not in line
  assert all(x.isprintable() for x in line), line
  assert len(line) < 1500
  assert path.name in line
  line.encode()  # a lone surrogate would end the command with a traceback
  assert not (tmp_path / "out").exists()
  assert not pathlib.Path(MARK).exists()


def good(tmp_path, **changes):
  """The members of a file that is taken."""
  value = official_files.fcid_file(**changes)
  torch_writer.write(tmp_path / "good.pt", value)
  with zipfile.ZipFile(tmp_path / "good.pt") as archive:
    return {x: archive.read(x) for x in archive.namelist()}


def zipped(members, compression=zipfile.ZIP_STORED):
  """A zip of (name, bytes), maybe with names that are there twice."""
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w", compression) as archive:
    for name, data in members:
      info = zipfile.ZipInfo(name)
      info.compress_type = compression
      archive.writestr(info, data)
  return stream.getvalue()


def put(tmp_path, data):
  path = tmp_path / "its.pt"
  path.write_bytes(data)
  return path


def call(name, module="os"):
  return GLOBAL(module, name) + f"(V{MARK}\ntR"


CALLS = {
  "reduce": call("mkdir"),
  "posix": call("mkdir", "posix"),
  "nt": call("mkdir", "nt"),
  "inst": f"(V{MARK}\nios\nmkdir\n",
  "obj": "(" + GLOBAL("os", "mkdir") + f"V{MARK}\no",
  "newobj": GLOBAL("os", "mkdir") + f"(V{MARK}\nt\x81",
  "newobj ex": GLOBAL("os", "mkdir") + f"(V{MARK}\nt}}\x92",
  "stack global": f"\x8c\x02os\x8c\x05mkdir\x93(V{MARK}\ntR",
  "ext1": f"\x82\x01(V{MARK}\ntR",
  "ext2": f"\x83\x01\x00(V{MARK}\ntR",
  "ext4": f"\x84\x01\x00\x00\x00(V{MARK}\ntR",
  "persid": "Pos.mkdir\n",
  "build": GLOBAL("torch", "FloatStorage") + f"}}({text('x')}K\1ub",
  "eval": GLOBAL("builtins", "eval")
  + f"(V__import__('os').mkdir('{MARK}')\ntR",
  "exec": GLOBAL("__builtin__", "exec") + f"(Vopen('{MARK}','w')\ntR",
  "nested": GLOBAL("torch.storage", "_load_from_bytes") + f"(V{MARK}\ntR",
  "numpy": GLOBAL("numpy.core.multiarray", "_reconstruct") + "(tR",
  "rebuilt": GLOBAL("torch._utils", "_rebuild_tensor") + "(tR",
  "dotted": GLOBAL("collections", "OrderedDict.fromkeys") + "(tR",
  "ours": call("whole", "unirep.runtime.atomic"),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_in_a_checkpoint_is_run(name, tmp_path):
  words = CALLS[name].encode("latin1")
  members = good(tmp_path)
  for pickled in (
    b"\x80\x04" + words + b".",
    # Beside a model that is whole.
    members["archive/data.pkl"][:-2] + text("x").encode() + words + b"u.",
  ):
    changed = {**members, "archive/data.pkl": pickled}
    refused(put(tmp_path, zipped(changed.items())), tmp_path, "broken")
    refused(put(tmp_path, legacy(pickled)), tmp_path, "broken")


def zips(tmp_path):
  members = good(tmp_path)
  pickled, (storage, *_) = (
    "archive/data.pkl",
    [x for x in members if "/data/" in x],
  )
  bomb = {**members, storage: bytes(2 * 10**8)}
  squeezed = zipfile.ZIP_DEFLATED
  items = [*members.items()]
  data = zipped(items)
  yield "bomb", zipped(bomb.items(), squeezed), "compressed"
  yield "pickle bomb", zipped({pickled: b"}" * 10**8}.items(), squeezed), "."
  yield "long pickle", zipped({pickled: b"}" * 10**7}.items()), "bytes"
  yield "absolute", zipped([*items, ("/etc/unirep", b"")]), "lies outside"
  yield "above", zipped([*items, ("archive/../../x", b"")]), "lies outside"
  yield "windows", zipped([*items, ("archive\\..\\..\\x", b"")]), "lies outside"
  yield "twice", zipped([*items, (storage, b"")]), "twice"
  yield "two", zipped([*items, ("other/data.pkl", b"N.")]), "not of torch"
  yield "nested", zipped([("its.pt", data)]), "not of torch"
  yield (
    "script",
    zipped([*items, ("archive/constants.pkl", b"")]),
    "TorchScript",
  )
  yield (
    "big",
    zipped({**members, "archive/byteorder": b"big"}.items()),
    "endian",
  )
  yield "lost", zipped(x for x in items if x[0] != storage), storage
  yield "short", zipped({**members, storage: b"1234"}.items()), "has"
  yield "long", zipped({**members, storage: bytes(10**6)}.items()), "bytes"
  yield "empty zip", zipped([]), "no file of torch.save"
  yield "no pickle", zipped([("archive/version", b"3\n")]), "not of torch"
  yield "cut", data[: len(data) // 2], "broken"
  yield "cut at its end", data[:-1], "broken"
  changed = bytearray(data)
  changed[data.index(members[storage]) + 3] ^= 1
  yield "changed", bytes(changed), "CRC"
  for size in (2**25, 0x06054B50):
    changed = bytearray(data)
    changed[-10:-6] = struct.pack("<L", size)
    yield "members", bytes(changed), "broken"
  yield "empty", b"", "no file of torch.save"
  yield "text", b"these are no weights", "no file of torch.save"
  yield "h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "no file of torch.save"


def test_zips_that_are_not_of_torch(tmp_path):
  for _, data, match in zips(tmp_path):
    refused(put(tmp_path, data), tmp_path, match)


def encoder(**changes):
  made = official_files.fcid_file()
  made["Encoder_parameters"].update(changes)
  return made


BIAS, BOOK = "va2vat.linear.bias", "Cross_quantizer_coarse.embedding"
VALUES = {
  "integers": (encoder(**{BIAS: np.ones(8, np.int64)}), "holds int64"),
  "truths": (encoder(**{BIAS: np.ones(8, bool)}), "holds bool"),
  "nan": (encoder(**{BIAS: np.full(8, np.nan)}), "not finite"),
  "infinite": (encoder(**{BIAS: np.full(8, np.inf)}), "not finite"),
  "too large": (encoder(**{BIAS: np.full(8, 1e300)}), "not finite"),
  "no bias": (encoder(**{BIAS: 3}), "no tensors"),
  "scalar": (encoder(**{BIAS: np.ones(())}), "other shapes"),
  "rank": (encoder(**{BOOK: np.ones(10)}), "has the shape"),
  "no codes": (encoder(**{BOOK: np.ones((0, 8))}), "."),
  "narrow": (encoder(**{BOOK: np.ones((10, 0))}), "."),
  "odd": (encoder(**{BOOK: np.ones((10, 7))}), "."),
  "unknown": (encoder(x=np.ones(8)), "has too many: 'x'"),
  "unicode": (encoder(**{"ж\u202e": np.ones(8)}), "has too many"),
  "backtick": (encoder(**{"`rm -rf x`": np.ones(8)}), "has too many"),
  "colours": (encoder(**{"\x1b[31m\n": np.ones(8)}), "has too many"),
  "markup": (encoder(**{"[/red]": np.ones(8)}), "has too many"),
  "long": (encoder(**{"x" * 10**5: np.ones(8)}), "has too many"),
  "many": (encoder(**{f"x{i}": np.ones(1) for i in range(3000)}), "more"),
  "not a dict": ({"Encoder_parameters": 3}, "Encoder_parameters"),
  "another": ({"Encoder_parameters": {"fc.weight": np.ones(3)}}, "neither"),
  "nothing": ({}, "Encoder_parameters"),
  "below 0": (official_files.fcid_file() | {"total_step": -1}, "no count"),
  "huge": (official_files.fcid_file() | {"total_step": 2**70}, "no count"),
  "tensor": (official_files.fcid_file() | {"epoch": np.ones(2)}, "no count"),
  "one": (official_files.dcid_file(("audio",)), "fewer than two"),
  "front": (
    {
      **official_files.dcid_file(("audio", "text")),
      "Text_ar_lstm_parameters": {},
    },
    "lacks: 'Text_ar_lstm_parameters/",
  ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_no_model(name, tmp_path):
  value, match = VALUES[name]
  path = tmp_path / "its.pt"
  torch_writer.write(path, value)
  refused(path, tmp_path, match)


def test_a_name_that_is_no_text(tmp_path):
  members, old = good(tmp_path), BIAS.encode()
  pickled = members["archive/data.pkl"]
  for new in (b"\xed\xb2\x80" + old[3:], b"va2vat.linear.bia\xff"):
    changed = {**members, "archive/data.pkl": pickled.replace(old, new)}
    refused(put(tmp_path, zipped(changed.items())), tmp_path)
  twice = pickled.replace(b"t2vat.linear.bias", b"t2vat.linear.weig"[:17])
  other = pickled.replace(b"a_self_att.affine", b"v_self_att.affine")
  for data in (twice, other):
    changed = {**members, "archive/data.pkl": data}
    refused(put(tmp_path, zipped(changed.items())), tmp_path)


def test_keys_and_shapes_of_another_kind(tmp_path):
  members, path = good(tmp_path), "archive/data.pkl"
  number = members[path].replace(b"X\x12\0\0\0" + BIAS.encode(), b"K\7", 1)
  assert number != members[path]
  sizes = b"(J\x08\0\0\0t(J\x01\0\0\0t"
  for data in (
    number,
    *(
      members[path].replace(sizes, new)
      for new in (
        b"]](J\x01\0\0\0t",
        b"(J\x08\0\0\0t)",
        b"(K\0\x8a\x09" + bytes(8) + b"\x7ft(K\1K\1t",
        b"(" + b"K\1" * 70 + b"t(" + b"K\1" * 70 + b"t",
        b"(" + b"N" * 2 + b"t(NNt",
        b"NN",
      )
    ),
  ):
    refused(put(tmp_path, zipped({**members, path: data}.items())), tmp_path)


def test_numbers_that_many_share(tmp_path):
  """A small file that would take much memory."""
  w = official_files.Widths(dim=256, hidden=2048, specific=8)
  one = {}
  value = {
    name: one.setdefault(x.shape, x)
    for name, x in official_files.drawn(official_files.fcid(w)).items()
  }
  path = tmp_path / "its.pt"
  torch_writer.write(path, {"Encoder_parameters": value})
  refused(path, tmp_path, "its arrays take")


def test_places_that_are_no_file(tmp_path):
  os.mkfifo(tmp_path / "pipe.pt")
  (tmp_path / "folder").mkdir()
  for name in ("pipe.pt", "folder", "nowhere.pt", "x" * 300, "a\0b"):
    config = convert.get_config("import")
    config.path = str(tmp_path / name)
    with pytest.raises(InputError) as caught:
      dispatch.run(config, tmp_path / "out", Console(quiet=True))
    assert "\n" not in str(caught.value)
  assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
  """A folder of safetensors and JSON that is taken."""
  folder = tmp_path_factory.mktemp("portable")
  torch_writer.write(folder / "its.pt", official_files.fcid_file())
  for variant, key, source, to in (
    ("import", "path", "its.pt", "run"),
    ("safetensors", "checkpoint", "run", "out"),
  ):
    config = convert.get_config(variant)
    config[key] = str(folder / source)
    dispatch.run(config, folder / to, Console(quiet=True))
  return folder / "out"


def rewritten(folder, portable, data=None, **about):
  folder.mkdir()
  data = data or (portable / "model.safetensors").read_bytes()
  (folder / "model.safetensors").write_bytes(data)
  said = json.loads((portable / "model.json").read_text())
  said["sha256"] = hashlib.sha256(data).hexdigest()
  (folder / "model.json").write_text(json.dumps(said | about))
  return folder


def headers(portable):
  data = (portable / "model.safetensors").read_bytes()
  (length,) = struct.unpack("<Q", data[:8])
  header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
  name = next(iter(header))

  def file(changes, rest=rest, cut=""):
    text = (
      json.dumps({**header, **changes}).replace(*cut.split("|"))
      if cut
      else (json.dumps({**header, **changes}))
    )
    return struct.pack("<Q", len(text)) + text.encode() + rest

  entry, other = header[name], [*header][1]
  yield struct.pack("<Q", 2**62) + data[8:], "its header has"
  yield data[: len(data) // 2], "broken"
  yield data[:-1], "broken"
  yield data + b"x", "broken"
  yield data[:6], "broken"
  yield file({}, cut=f'"{other}"|"{name}"'), "broken"
  yield file({name: {**entry, "dtype": "F7"}}), "F7"
  yield file({name: {**entry, "dtype": "I64"}}), "."
  yield file({name: {**entry, "shape": [-1]}}), "broken"
  yield file({name: {**entry, "shape": [2**40, 2**40]}}), "broken"
  yield file({name: {**entry, "data_offsets": [8, 16]}}), "broken"
  yield file({name: 3}), "broken"
  yield file({}, cut=f'"{name}"|"params/x\\\\n`y`"'), "has too many"
  yield file({}, cut=f'"{name}"|"params"'), "within an array"
  yield struct.pack("<Q", 10**6) + b"[" * 10**6, "broken"
  yield struct.pack("<Q", 2) + b"{}", "no model"


def test_safetensors_that_are_no_model(portable, tmp_path):
  for i, (data, match) in enumerate(headers(portable)):
    folder = rewritten(tmp_path / f"its{i}", portable, data)
    refused(folder, tmp_path, match)


def test_numbers_of_safetensors(portable, tmp_path):
  arrays = state_dicts.read_tensors(portable / "model.safetensors")
  name = "params/encoder/coarse/text/bias"
  for i, x in enumerate(
    [np.full(8, np.nan), np.ones(8, np.int64), np.ones(9), np.ones((8, 1))]
  ):
    state_dicts.write_tensors(tmp_path / "x", {**arrays, name: x})
    data = (tmp_path / "x").read_bytes()
    refused(rewritten(tmp_path / f"its{i}", portable, data), tmp_path, name)
  del arrays[name]
  state_dicts.write_tensors(tmp_path / "x", arrays)
  data = (tmp_path / "x").read_bytes()
  refused(rewritten(tmp_path / "its9", portable, data), tmp_path, "lacks")


def test_settings_that_are_none(portable, tmp_path):
  settings = json.loads((portable / "model.json").read_text())["settings"]
  wide = {**settings["model"], "dim": 10**12}
  for i, (about, match) in enumerate(
    [
      ({"settings": {}}, "."),
      ({"settings": 3}, "no settings"),
      ({"settings": {**settings, "method": "x"}}, "method"),
      ({"settings": {**settings, "model": {}}}, "."),
      ({"settings": {**settings, "model": wide}}, "."),
      ({"settings": {**settings, "modalities": 3}}, "."),
      ({"settings": {**settings, "modalities": ["__class__"]}}, "."),
      ({"settings": {**settings, "data": 3}}, "."),
      ({"settings": {**settings, "mask_padding": None} | {"loss": {}}}, "."),
      ({"settings": {k: settings[k] for k in ("method", "model")}}, "."),
      ({"settings": {**settings, "imported": 3, "method": []}}, "."),
      ({"step": -1}, "no step"),
      ({"step": True}, "no step"),
      ({"step": 2**40}, "no step"),
      ({"format": 2}, "no format"),
      ({"sha256": "0" * 64}, "is not the file"),
    ]
  ):
    folder = rewritten(tmp_path / f"its{i}", portable, **about)
    refused(folder, tmp_path, match)


def test_texts_that_are_no_settings(portable, tmp_path):
  for i, text_ in enumerate(["", "{", "[" * 10**6, "3", "\xff\n"]):
    folder = rewritten(tmp_path / f"its{i}", portable)
    (folder / "model.json").write_bytes(text_.encode("latin1"))
    refused(folder, tmp_path)
  (folder / "model.json").unlink()
  refused(folder, tmp_path, "model.json")
  os.mkfifo(folder / "model.json")
  refused(folder, tmp_path, "no file")
  folder = rewritten(tmp_path / "its", portable)
  (folder / "model.safetensors").unlink()
  os.mkfifo(folder / "model.safetensors")
  refused(folder, tmp_path, "no file")


@pytest.mark.parametrize(
  ("variant", "key"),
  [
    ("import", "path"),
    ("official", "checkpoint"),
    ("safetensors", "checkpoint"),
  ],
)
def test_the_command_ends_in_one_line(variant, key, tmp_path):
  import test_main

  (tmp_path / "its.pt").write_bytes(b"PK\x03\x04")
  for value in ("", tmp_path / "its.pt", tmp_path / "nowhere"):
    line = test_main.refused(
      f"--config.{key}={value}",
      f"--workdir={tmp_path / 'out'}",
      config=f"configs/convert.py:{variant}",
    )
    assert (str(value) or key) in line
  assert not (tmp_path / "out").exists()
