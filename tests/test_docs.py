"""The pages say what is so: every command line in them is parsed and composed."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from typer.main import get_command

import nnexp
from nnexp.cli.app import USAGE_ERROR, app
from nnexp.compare.metrics import METRICS
from nnexp.figures import PLOTS
from nnexp.settings import ConfigError, NormConfig, run_id
from nnexp.settings.choices import list_settings, read_choices
from nnexp.settings.compose import compose_config, compose_jobs
from nnexp.settings.extras import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "runs/README.md",
    ]
}
EXPERIMENTS = {page for page in PAGES if page.startswith("docs/experiments/")}
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash", "shell", "console")
SHELL_WORDS = {  # no nnexp: the pages write `uv run nnexp`, so that a line works from a fresh clone
    "pip",
    "uv",
    "cd",
    "git",
    "mkdir",
    "export",
    "tar",
    "ray",
    "source",
}
NOT_SHELL = {"python", "text", "math", "yaml", "toml", "csv"}

UV_RUN = {"nnexp", "python", "pytest", "ruff", "lint-imports", "basedpyright", "mkdocs", "jupyter"}
HYDRA_FLAGS = {"--cfg", "--info", "--resolve", "--package"}
PLACEHOLDERS = {"RUN", "FOLDER", "FIRST"}  # docs/quickstart.md says what they stand for


class Command(NamedTuple):
    """One line of a shell block."""

    page: str
    line: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)


def commands_in(page: str, text: str) -> list[Command]:
    """Return the commands of every shell block, joined lines as one, `a && b` as two."""
    lines = [
        line.strip()
        for _, language, block in FENCE.findall(text)
        if language in SHELL
        for line in block.replace("\\\n", " ").splitlines()
    ]
    parts = [part for line in lines for part in line.split(" && ")]
    return [Command(page, part) for part in parts if part and not part.startswith("#")]


COMMANDS = sorted({command for page, text in PAGES.items() for command in commands_in(page, text)})

# The settings and metrics of a run, as a table of results has them.
RESULTS = (ROOT / "docs/studies/claims.csv").read_text("utf-8").partition("\n")[0].split(",")
COLUMNS = {*RESULTS, *METRICS, *list_settings(), *read_choices().groups}


@cache
def composed(*words: str) -> str:
    """Return the name of a run; many pages have the same words."""
    return run_id(compose_config(words))


@cache
def runs_of(*words: str) -> list[str]:
    """Return the names of the runs of a sweep."""
    return [run_id(config) for _, config in compose_jobs(words)]


def check(words: list[str]) -> None:
    """Parse the words of one `nnexp` command for real, and compose the settings in them.

    Raises:
        Exception: An option, an argument, a setting, a study, a metric or a kind is not there.
    """
    name, *rest = words
    if name.startswith("-"):
        assert name in ("--help", "-h", "--version", "--install-completion"), name
        return
    command: Any = get_command(app).commands[name]
    options = {one for param in command.params for one in (*param.opts, *param.secondary_opts)}
    flags = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert flags <= options | {"-h", "--help"} | HYDRA_FLAGS, flags
    values = command.make_context(name, list(rest)).params
    if "overrides" not in values:
        check_reading(values)
    elif name in ("sweep", "bench") or values.get("multirun"):
        assert runs_of(*settings_in(values["overrides"]))
    else:
        composed(*settings_in(values["overrides"]))


def settings_in(words: list[str]) -> list[str]:
    """Return the settings among the words that a command hands to Hydra.

    Left out are Hydra's own flags, what belongs to an extra that may not be installed, and ranges
    that only Optuna reads.
    """
    flag_values = {"job", "hydra", "all"}  # of --cfg
    settings = [word for word in words if not word.startswith("-") and word not in flag_values]
    extras = {f"{group}={name}" for group, name in EXTRAS}
    return [word for word in settings if word not in extras and "interval(" not in word]


def check_groups(groups: list[str]) -> None:
    choices = read_choices()
    for group in groups:
        name, _, option = group.partition("=")
        assert name in choices.groups, group
        assert not option or option in choices.groups[name], group


def check_reading(values: dict[str, Any]) -> None:
    """Check what a command that reads results names: groups, studies, kinds, settings, metrics."""
    sources = [str(source) for source in values.get("runs") or []]
    check_groups(
        [*(values.get("groups") or []), *(word for word in sources if word.startswith("study="))]
    )
    assert values.get("kind", "error") in PLOTS
    options = [values.get(name) or "" for name in ("rows", "cols", "sort", "best", "metric")]
    keys = [key.lstrip("-") for option in options for key in option.split(",") if key]
    against = values.get("against") or ""
    conditions = [*(values.get("where") or []), against if "=" in against else f"norm={against}"]
    keys += [re.split("!?=", condition)[0] for condition in conditions]
    for key in keys:
        assert key in COLUMNS or key.startswith("norm.at."), key


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.line}")
def test_every_line_of_a_shell_block_is_a_command_that_works(command):
    first, *rest = command.words
    assert first in SHELL_WORDS, f"{command.page}: {command.line}"
    if (first, *rest[:1]) == ("uv", "run"):
        skipped = {"--group": 3, "--all-groups": 2}.get(rest[1], 1)
        program, *words = rest[skipped:]
        assert program in UV_RUN, f"{command.page}: {command.line}"
        if program == "nnexp":
            check(words)


@pytest.mark.parametrize("command", app.registered_commands, ids=lambda command: command.name)
def test_the_example_in_a_commands_help_works(command):
    program, *words = shlex.split(command.epilog.removeprefix("Example: "))
    assert program == "nnexp"
    check(words)


def test_what_a_reader_has_to_replace_is_explained():
    for page, line in COMMANDS:
        capitals = set(re.findall(r"(?<![\w$])[A-Z]{2,}(?!\w)", line.partition("#")[0]))
        assert capitals <= PLACEHOLDERS, f"{page}: {line}"
    for name in PLACEHOLDERS:
        assert f"| `{name}` |" in PAGES["docs/quickstart.md"]


@pytest.mark.parametrize(
    "line",
    [
        "nexp logs RUN",
        "uv run nexp logs RUN",
        "uv run nnexp log RUN",
        "uv run nnexp train modle=vgg16",
        "uv run nnexp train --epochs 3",
        "uv run nnexp sweep study=disable_batchnorm",
        "uv run nnexp compare study=disable_bm",
        "uv run nnexp compare --row norm",
        "uv run nnexp compare --rows nrom",
        "uv run nnexp compare --metric acuracy",
        "uv run nnexp compare --where modle=vgg16",
        "uv run nnexp figure errors",
        "uv run nnexp configs nrom",
        "uv run nnexp show SETTING",
    ],
)
def test_a_typo_in_a_command_is_found(line):
    (command,) = commands_in("page.md", f"```sh\n{line}\n```\n")
    with pytest.raises((AssertionError, KeyError, ConfigError, USAGE_ERROR)):
        test_every_line_of_a_shell_block_is_a_command_that_works(command)


@pytest.mark.parametrize("page", PAGES)
def test_every_fenced_block_says_what_it_holds(page):
    for _, language, block in FENCE.findall(PAGES[page]):
        assert language in (*SHELL, *NOT_SHELL), f"{page}: {language!r} before {block[:60]!r}"


@pytest.mark.parametrize("page", PAGES)
def test_setting_named_on_a_page_exists(page):
    groups = "model|norm|data|optimizer|schedule|trace|probe"
    for key in re.findall(rf"`((?:{groups})\.[a-z_0-9]+)", PAGES[page]):
        assert key in COLUMNS, f"{page}: {key}"


def test_every_setting_of_a_norm_is_explained_on_its_page():
    keys = {f"norm.{key}" for key in NormConfig.__dataclass_fields__} - {"norm.name"}
    assert {key for key in keys if key not in PAGES["docs/norms.md"]} == set()


def test_the_readme_is_short():
    assert len(README.split()) < 900


def test_the_tree_in_the_readme_names_every_room():
    (tree,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    listed = [ROOT / line.split()[0] for line in tree.splitlines()]
    assert [path for path in listed if not path.exists()] == []
    rooms = [path.parent for path in (ROOT / "nnexp").glob("*/__init__.py")]
    assert [room for room in rooms if room not in listed] == []


def test_ci_runs_the_readme_command_word_for_word():
    command = "pip install uv && uv run --all-groups pytest"
    assert f"\n{command}\n" in README
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command


def test_no_page_links_to_a_file_that_is_not_there():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_the_first_command_of_the_readme_is_a_study_that_needs_no_download():
    first = next(line for line in README.splitlines() if line.startswith("pip install uv && "))
    overrides = first.partition("nnexp sweep ")[2].split()
    configs = [config for _, config in compose_jobs(overrides)]
    assert {config.data.name for config in configs} == {"synthetic"}
    assert {config.norm.name for config in configs} == {"batch", "none"}


def test_the_citation_names_the_version_and_the_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == nnexp.__version__
    assert citation["license"] == (ROOT / "LICENSE").read_text("utf-8").split()[0]


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", *sorted(EXPERIMENTS)])
def test_a_run_named_on_a_page_is_trained_by_a_command_above_it(page):
    above: set[str] = set()
    for line in (command.line for command in commands_in(page, PAGES[page])):
        if found := re.match(r"uv run nnexp (?:train|sweep) (.*)", line):
            words = shlex.split(found[1], comments=True)
            above |= set(runs_of(*settings_in(words)))
        assert set(re.findall(r"\w+-\w+-bs\d+-s\d+-[0-9a-f]{8}", line)) <= above, line
