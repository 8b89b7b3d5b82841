"""The pages say what is so: commands run, settings exist, the tree is the tree."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from nnexp.cli.app import app
from nnexp.settings import ExperimentConfig, NormConfig, flatten
from nnexp.settings.compose import compose_config, compose_jobs

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in ROOT.glob("docs/*.md")
}
PAGES["README.md"] = README
COMMANDS = sorted(
    {
        (page, line.strip().removeprefix("pip install uv && ").removeprefix("uv run "))
        for page, text in PAGES.items()
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if "nnexp " in line and not line.startswith("#")
    }
)


def test_readme_is_short():
    assert len(README.split()) < 900


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command_on_a_page_names_a_command_and_settings_that_exist(page, line):
    words = shlex.split(line.partition("#")[0].partition(" > ")[0])
    assert words[0] == "nnexp", line
    commands = get_command(app).commands
    assert words[1] in commands, line
    overrides = [word for word in words[2:] if re.match(r"^[\w.]+=", word)]
    if words[1] in ("train", "show", "data"):
        assert isinstance(compose_config(overrides), ExperimentConfig)
    elif words[1] in ("sweep", "bench"):
        assert compose_jobs(overrides)


@pytest.mark.parametrize("page", PAGES)
def test_setting_named_on_a_page_exists(page):
    known = set(flatten(ExperimentConfig())) | {"norm.at"}
    groups = "model|norm|data|optimizer|schedule|trace|probe"
    for key in re.findall(rf"`((?:{groups})\.[a-z_0-9]+)", PAGES[page]):
        assert key in known, f"{page}: {key}"


def test_every_setting_of_a_norm_is_explained_on_its_page():
    missing = [
        key
        for key in NormConfig.__dataclass_fields__
        if f"norm.{key}" not in PAGES["docs/norms.md"]
    ]
    assert set(missing) <= {"name", "momentum", "eps", "affine"}


def test_tree_in_the_readme_is_the_tree():
    (tree,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    stack: list[str] = []
    listed = set()
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        stack = [*stack[:depth], name.rstrip("/")]
        path = ROOT.joinpath(*stack)
        assert path.exists(), f"the README's tree has {path.relative_to(ROOT)}"
        listed.add(path)
    for path in [*(ROOT / "nnexp").iterdir(), *ROOT.glob("configs/*")]:
        if path.suffix in (".py", ".yaml") and not path.name.startswith("__"):
            assert path in listed, f"the README's tree lacks {path.relative_to(ROOT)}"


def test_ci_runs_the_readme_command_word_for_word():
    command = "pip install uv && uv run pytest"
    assert f"\n{command}\n" in README
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command


def test_no_page_links_to_a_file_that_is_not_there():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
