"""The notebook: executed on a tiny setting, and kept with its outputs."""

import json
import os
import pathlib

import pytest
from recordings import make_fsdd

NOTEBOOK = (
  pathlib.Path(__file__).resolve().parent.parent / "notebooks/quickstart.ipynb"
)


def test_it_is_kept_with_its_outputs_and_small():
  assert NOTEBOOK.stat().st_size < 1e6
  cells = [
    cell
    for cell in json.loads(NOTEBOOK.read_text())["cells"]
    if cell["cell_type"] == "code"
  ]
  assert [cell["execution_count"] for cell in cells] == [
    *range(1, len(cells) + 1)
  ]
  kinds = [out["output_type"] for cell in cells for out in cell["outputs"]]
  assert "error" not in kinds
  assert kinds.count("display_data") >= 3
  text = NOTEBOOK.read_text()
  assert "/tmp/" not in text
  assert "/home/" not in text


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
  nbclient = pytest.importorskip("nbclient")
  nbformat = pytest.importorskip("nbformat")
  monkeypatch.setenv("UNIREP_TINY", "1")
  monkeypatch.setenv("UNIREP_RUNS", str(tmp_path / "runs"))
  monkeypatch.setenv("UNIREP_FSDD", str(make_fsdd(tmp_path / "fsdd")))
  monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"].replace("=8", "=1"))
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  nbclient.NotebookClient(
    notebook,
    timeout=600,
    resources={"metadata": {"path": str(NOTEBOOK.parent)}},
  ).execute()
