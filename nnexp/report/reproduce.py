"""Environments of runs → how to make them again: commit, versions, commands."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnexp.compare.columns import Row
from nnexp.rundir import RunDir, read_json
from nnexp.settings.sharing import without_home

SHARED = ("nnexp", "commit", "dirty", "python", "torch", "torchvision", "numpy", "hydra-core")
MACHINE = ("cuda", "cudnn", "device", "threads", "platform", "images_sha256")
MOST_COMMANDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a set of runs was made with, and how many they are."""

    facts: dict[str, str]
    commands: dict[str, int]  # command line → runs
    runs: int


def find_recipes(rows: Sequence[Row]) -> list[Recipe]:
    """Return the runs' environments, the most frequent first; runs without one are not in it."""
    commands: dict[tuple[tuple[str, str], ...], Counter[str]] = {}
    for row in rows:
        environment = read_environment(row)
        if environment:
            facts = tuple(facts_of(environment).items())
            command = without_home(str(environment.get("command") or ""))
            commands.setdefault(facts, Counter())[command] += 1
    recipes = [
        Recipe(facts=dict(facts), commands=dict(counts), runs=counts.total())
        for facts, counts in commands.items()
    ]
    return sorted(recipes, key=lambda recipe: -recipe.runs)


def read_environment(row: Row) -> dict[str, Any]:
    """Return a run's environment; nothing where its folder is not here."""
    return read_json(RunDir(Path(row["folder"])).environment)


def facts_of(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what decides whether figures come out again; not the host, nor when it was."""
    known = {
        key: environment[key] for key in (*SHARED, *MACHINE) if environment.get(key) is not None
    }
    if "dirty" in known:
        known["dirty"] = "with uncommitted changes" if known["dirty"] else "clean"
    return {{"dirty": "tree"}.get(key, key): str(value) for key, value in known.items()}


def ways(recipe: Recipe) -> list[str]:
    """Return the lines of a shell that make a recipe's runs again, each command once."""
    lines = []
    if commit := recipe.facts.get("commit"):
        lines.append(f"git checkout {commit}")
    lines.append("pip install uv")
    commands = [command for command in recipe.commands if command]
    lines += [f"uv run {command}" for command in commands[:MOST_COMMANDS]]
    return lines
