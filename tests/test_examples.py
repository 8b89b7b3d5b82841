"""The example notebook runs from its first cell to its last."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = json.loads((ROOT / "examples/first_steps.ipynb").read_text("utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_runs_in_order_in_an_empty_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(CODE)],
        cwd=tmp_path,
        # Threads that wait busily beside another test take 20 seconds of CPU here, and 8 otherwise.
        env={**os.environ, "MPLBACKEND": "agg", "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("baseline-*"))) == 4


def test_the_notebook_is_kept_without_outputs():
    assert all(not cell.get("outputs") for cell in NOTEBOOK["cells"])


def test_the_notebook_uses_only_what_the_page_on_the_python_api_lists():
    page = (ROOT / "docs/python.md").read_text("utf-8")
    for name in set(re.findall(r"nnexp\.(\w+)", "\n".join(CODE))):
        assert f"<!-- python: {name} -->" in page, name
