"""The notebooks run from start to end, are stored without output, and leave definitions to `src`."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNS = ("quickstart", "latent_space")  # notebooks that keep a run's folder
LONGEST_DEFINITION = 10  # lines
A_CELL = 300  # seconds, many times what one takes: a hung kernel must end, a busy machine must not fail


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {
        "quickstart",
        "latent_space",
        "own_dataframe",
        "sweeps",
        "pictures",
        "picture_models",
        "gans",
        "series",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_output(path):
    kept = [cell["id"] for cell in code_cells(path) if cell["outputs"] or cell["execution_count"] is not None]
    assert not kept, "clear all outputs before saving"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_definitions_are_short(path):
    source = "\n".join("".join(cell["source"]) for cell in code_cells(path))
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, definitions)]
    lengths = {node.name: node.end_lineno - node.lineno + 1 for node in found}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_DEFINITION}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_start_to_end(path, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the runs of a notebook go
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))  # the notebooks of a clone run that clone's package
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=A_CELL, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    complaints = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [text for text in complaints if "no more than chance" not in text]  # of a holdout: told, and no fault
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    if path.stem in RUNS:
        assert list(tmp_path.glob("*/iris/report.html"))
    assert not list(tmp_path.glob("datakiln-*")), "what is not asked for does not stay"
