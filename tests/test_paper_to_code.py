"""What docs/paper_to_code.md names is there."""

import importlib
import pathlib
import re

import pytest

from unirep.configs import evaluate, pretrain

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "paper_to_code.md").read_text()


def found(name):
  """Whether a dotted name leads somewhere below unirep."""
  parts = name.split(".")
  for i in range(len(parts) - 1, 0, -1):
    try:
      place = importlib.import_module(".".join(["unirep", *parts[:i]]))
    except ModuleNotFoundError:
      continue
    for part in parts[i:]:
      place = getattr(place, part, None)
    return callable(place)
  return False


def test_its_functions_are_there():
  names = re.findall(r"`([\w.]+)\(\)`", TEXT)
  assert len(names) > 40
  assert not [x for x in names if not found(x)]


@pytest.mark.parametrize("name", ["losses.club.nothing", "losses.none.cpc"])
def test_others_are_not(name):
  assert not found(name)


def test_its_keys_are_there():
  configs = [
    pretrain.get_config(f"method={method},preset={preset}")
    for method in ("fcid", "dcid")
    for preset in ("clean", "released")
  ]
  sections = {"codes", "model", "weights", "loss", "toc", "probe"}
  for name in re.findall(r"`(\w+\.\w+)(?:=[^`]*)?`", TEXT):
    section, key = name.split(".")
    if key in ("pt", "json", "safetensors"):
      continue  # a file
    if section in sections - {"toc"} or section in configs[0].loss:
      assert any(
        key in part[section]
        for config in [*configs, evaluate.get_config()]
        for part in (config, config.get("loss", {}))
        if section in part
      ), name
    elif section == "toc":
      assert key in evaluate.get_config().toc, name
