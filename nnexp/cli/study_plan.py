"""A study's file → its plan: the question, what would answer it, and the commands that look.

The comments that head the file are the plan. They are written before any run, and say nothing of
what was found.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import typer

from nnexp.cli.composing import layout
from nnexp.settings.choices import read_choices, remarks

STUDY = "study="
PREFIX = "verify_"  # of studies that do nothing but to repeat published results
HEADS = ("metric", "baseline", "family", "yes", "no")  # what a plan has to decide
JUDGING = ("metric", "against", "margin", "paired", "best", "confirm")
ASKING = ("rows", "cols", "where", *JUDGING)  # parts of a question


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What a study asks, as its file says it; what an own study leaves out is empty."""

    question: str = ""
    heads: Mapping[str, str] = field(default_factory=dict)  # of HEADS, what the file has
    read: str = ""  # the command whose table answers the question
    also: Sequence[str] = ()  # commands that show what else there is to know
    checks: Sequence[str] = ()  # what is expected; see nnexp/compare/checks.py
    source: str = ""  # where that was published
    cost: str = ""


def read_plan(name: str, config_dir: str | None = None) -> StudyPlan:
    """Return the plan of a study that there is."""
    question, *lines = remarks(cast("Path", read_choices(config_dir).groups["study"][name])) or [""]
    told = [(head, text) for head, _, text in (line.partition(": ") for line in lines)]
    return StudyPlan(
        question=question,
        heads={head: text for head, text in told if head in HEADS},
        read=dict(told).get("read", ""),
        also=[text for head, text in told if head == "also"],
        checks=[text for head, text in told if head == "check"],
        source=dict(told).get("source", ""),
        cost=dict(told).get("cost", ""),
    )


def checked_studies(config_dir: str | None) -> dict[str, StudyPlan]:
    """Return the studies that say what is expected, by their names."""
    names = read_choices(config_dir).groups.get("study", {})
    plans = {name: read_plan(name, config_dir) for name in names}
    return {name: plan for name, plan in plans.items() if plan.checks}


def asked_by(command: str) -> dict[str, Any]:
    """Return what a line `nnexp compare …` or `nnexp figure …` asks, as parts of a question."""
    from typer.main import get_command

    from nnexp.cli.app import app  # imports every command, so it is imported late

    _, name, *words = shlex.split(command)
    commands = cast("Any", get_command(app)).commands
    typed = commands[name].make_context(name, words).params
    parts = layout(typed["rows"], typed["cols"], typed["where"])
    return parts | {key: typed[key] for key in JUDGING if key in typed}


def as_planned(
    context: typer.Context, sources: Sequence[str], config_dir: str | None
) -> dict[str, Any]:
    """Return the question of the one study among the sources, if the user asks nothing else."""
    names = [word.removeprefix(STUDY) for word in sources if word.startswith(STUDY)]
    typed = [key for key in ASKING if key in context.params and _is_typed(context, key)]
    studies = read_choices(config_dir).groups["study"] if len(names) == 1 and not typed else {}
    plan = read_plan(names[0], config_dir) if names and names[0] in studies else StudyPlan()
    return asked_by(plan.read) if plan.read else {}


def _is_typed(context: typer.Context, key: str) -> bool:
    source = context.get_parameter_source(key)
    return source is not None and source.name != "DEFAULT"
