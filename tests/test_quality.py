"""The one command that judges everything judges the code's form too."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {
    "format": ["ruff", "format", "--check"],
    "lint": ["ruff", "check"],
    "types": ["basedpyright"],
    "import contracts": ["lint-imports"],
}


@pytest.mark.parametrize("name", TOOLS)
def test_tool_has_nothing_to_say(name):
    command, *words = TOOLS[name]
    program = Path(sys.executable).with_name(command)
    if not program.exists():
        pytest.skip(f"{command} is not installed here; uv run --group lint installs it")
    done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
