"""Every official release, in small: checked, converted, and used by a job."""

import json
import subprocess
import sys

import pytest
import releases as mini
from test_main import ROOT, environment

from unirep.configs import data as data_of

MEASURED = ("ave", "avvp", "ave_avvp", "ucf_vgg", "vgg_ucf")


def main(arg, workdir, **flags):
  """The command, which must succeed."""
  given = [f"--config.{key}={value}" for key, value in flags.items()]
  command = [sys.executable, "-m", "unirep.main", f"--config=configs/{arg}"]
  done = subprocess.run(
    [*command, *given, f"--workdir={workdir}"],
    cwd=ROOT,
    env=environment(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def ready(name, folder):
  """The flags of a miniature that was checked and converted."""
  flags = {f"data.{k}": v for k, v in mini.SETS[name](folder).items()}
  checked, converted = folder / "checked", folder / "converted"
  assert "nothing wrong" in main(f"data.py:check,data={name}", checked, **flags)
  main(f"data.py:convert,data={name}", converted, **flags)
  return {"data.converted": str(converted)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """Two steps on the miniature of VGGSound-AVEL, as converted."""
  folder = tmp_path_factory.mktemp("avel")
  flags = ready("avel", folder)
  main("pretrain.py:size=tiny,data=avel", folder / "run", **flags)
  return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["heldout", "released"])
@pytest.mark.parametrize("name", MEASURED)
def test_a_task_is_measured(name, protocol, model, tmp_path):
  own = "ucf_vgg" if name == "vgg_ucf" else name
  flags = {f"data.{k}": v for k, v in mini.SETS[own](tmp_path).items()}
  if protocol == "heldout":
    flags = ready(own, tmp_path)
  arg = f"evaluate.py:size=tiny,data={name},protocol={protocol}"
  out = tmp_path / "out"
  main(arg, out, checkpoint=model, **flags)
  rows = json.loads((out / "results.json").read_text())["rows"]
  ways = {(row["source"], row["target"]) for row in rows}
  one = {"ucf_vgg": ("video", "audio"), "vgg_ucf": ("audio", "video")}
  assert one.get(name, ("video", "audio")) in ways
  assert name in one or len(ways) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", data_of.RETRIEVAL)
def test_clips_are_retrieved(name, model, tmp_path):
  arg = f"retrieve.py:size=tiny,data={name}"
  out = tmp_path / "out"
  main(arg, out, checkpoint=model, **ready(name, tmp_path))
  rows = json.loads((out / "results.json").read_text())["rows"]
  assert {row["gallery"] for row in rows} >= {6}


@pytest.mark.slow
def test_released_as_published(tmp_path):
  """All splits, ten words of a map, and no file converted."""
  (tmp_path / "cnt.tsv").write_text(
    "bert_id\tindex\ttoken\n0\t0\t[PAD]\n1996\t1\tthe\n1037\t2\ta\n"
  )
  flags = {f"data.{k}": v for k, v in mini.avel(tmp_path).items()}
  flags["data.word_map"] = str(tmp_path / "cnt.tsv")
  main(
    "pretrain.py:size=tiny,data=avel,preset=released", tmp_path / "run", **flags
  )
  summary = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert summary["steps"] == 2
