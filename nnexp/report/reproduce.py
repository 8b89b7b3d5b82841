"""Environments of runs → how to make them again: commit, versions, commands."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnexp.compare.columns import Row
from nnexp.rundir import RunDir, read_json
from nnexp.settings.sharing import without_home

FACTS = (
    *("nnexp", "commit", "dirty", "python", "torch", "torchvision", "numpy", "hydra-core"),
    *("cuda", "cudnn", "device", "threads", "platform", "images_sha256"),
)
MOST_COMMANDS = 40
MOST_RECIPES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a set of runs was made with, how many they are, and the shell's lines for them."""

    facts: dict[str, str]
    lines: list[str]
    left_out: list[str]
    runs: int


def find_recipes(rows: Sequence[Row]) -> tuple[list[Recipe], list[str]]:
    """Return how the runs were made, the most frequent first, and a line for what is left out."""
    commands: dict[tuple[tuple[str, str], ...], Counter[str]] = {}
    for row in rows:
        if environment := read_environment(row):
            facts = tuple(facts_of(environment).items())
            command = without_home(str(environment.get("command") or ""))
            commands.setdefault(facts, Counter())[command] += 1
    recipes = [_recipe(dict(facts), counts) for facts, counts in commands.items()]
    recipes.sort(key=lambda recipe: -recipe.runs)
    left_out = []
    if unknown := len(rows) - sum(recipe.runs for recipe in recipes):
        left_out.append(f"Of {unknown} runs the environment is not known here.")
    if (more := len(recipes) - MOST_RECIPES) > 0:
        left_out.append(f"{more} more environments are left out here.")
    return recipes[:MOST_RECIPES], left_out


def read_environment(row: Row) -> dict[str, Any]:
    """Return a run's environment; nothing where its folder is not here."""
    return read_json(RunDir(Path(row["folder"])).environment)


def facts_of(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what decides whether results come out again; not the host, nor when it was."""
    known = {key: environment[key] for key in FACTS if environment.get(key) is not None}
    if "dirty" in known:
        known["dirty"] = "with uncommitted changes" if known["dirty"] else "clean"
    return {{"dirty": "tree"}.get(key, key): str(value) for key, value in known.items()}


def _recipe(facts: dict[str, str], counts: Counter[str]) -> Recipe:
    commands = [command for command in counts if command]
    hidden = len(commands) - MOST_COMMANDS
    more = f"{hidden} more commands are left out here; each run's environment.json has its own."
    return Recipe(
        facts=facts,
        lines=[
            *([f"git checkout {facts['commit']}"] if "commit" in facts else []),
            "pip install uv",
            *(f"uv run {command}" for command in commands[:MOST_COMMANDS]),
        ],
        left_out=[more] if hidden > 0 else [],
        runs=counts.total(),
    )
