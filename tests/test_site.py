"""The documentation site is built without a warning, and loads nothing from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnexp

ROOT = Path(__file__).resolve().parent.parent
needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="uv run --group docs installs mkdocs"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@needs_mkdocs
def test_no_page_of_the_site_loads_anything_from_another_host(site):
    loaded = re.compile(
        r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"(?:https?:)?//[^\"]*\""
    )
    for page in site.rglob("*.html"):
        assert loaded.findall(page.read_text("utf-8")) == [], page


@needs_mkdocs
def test_the_page_of_settings_lists_every_setting(site):
    from nnexp.settings.choices import list_settings

    page = (site / "settings.html").read_text("utf-8")
    assert [key for key in list_settings() if f"<code>{key}</code>" not in page] == []


@needs_mkdocs
def test_the_page_of_commands_lists_every_command_and_option(site):
    from typer.main import get_command

    from nnexp.cli.app import app

    page = (site / "commands.html").read_text("utf-8")
    for name, command in get_command(app).commands.items():
        assert f'id="{name}"' in page
        for param in command.params:
            if param.opts[0].startswith("--"):
                assert re.search(rf"<code>{param.opts[0]}\b", page), f"{name} {param.opts[0]}"


@needs_mkdocs
def test_formulas_are_drawn_without_a_script(site):
    assert "<math " in (site / "norms.html").read_text("utf-8")


def test_the_page_on_the_python_api_lists_every_public_name():
    page = (ROOT / "docs/python.md").read_text("utf-8")
    listed = set(re.findall(r"<!-- python: (\w+) -->", page))
    tables = {name for name in nnexp.__all__ if name.isupper()}
    assert listed == set(nnexp.__all__) - {"__version__"} - tables
    assert all(name in page for name in tables)
