"""What a run folder says of its run: settings and result, checked."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nnexp.console import printable
from nnexp.rundir.folder import RunDir
from nnexp.rundir.reading import UnreadableError, read_object, read_text
from nnexp.rundir.status import FINAL
from nnexp.settings import ConfigError, ExperimentConfig, column_types, fits, from_yaml
from nnexp.settings.values import quoted

# Columns environment.NAME of a result: what a comparison must know of how its rows were made.
ENVIRONMENT = (
    "nnexp", "torch", "device", "images_sha256",
    "commit", "dirty", "threads", "cuda", "cudnn", "numpy", "memory_format", "step",
)  # fmt: skip
CHANCE_LEVEL = 0.01  # p from which an accuracy is no better than guessing


def read_config(run: RunDir) -> ExperimentConfig | None:
    """Return the settings of a run; None where it has none.

    Raises:
        UnreadableError: The file is not the settings of a run of this version.
    """
    text = read_text(run.config)
    if text is None:
        return None
    try:
        return from_yaml(text)
    except ConfigError as error:
        reason = error.problem.removeprefix("config.yaml cannot be read: ")
        raise UnreadableError(run.config, printable(reason)) from error


def read_result(run: RunDir) -> dict[str, Any] | None:
    """Return the run's one row, its settings of the right type; None where it has none.

    Raises:
        UnreadableError: The file is no such row.
    """
    row = read_object(run.result)
    if row is not None and (problem := wrong_type({"status": None, **row})):
        raise UnreadableError(run.result, problem)
    return row


def finished_result(run: RunDir) -> dict[str, Any]:
    """Return the row of a run that is over; nothing of any other, or where it cannot be read."""
    with suppress(UnreadableError):
        row = read_result(run)
        if row and row["status"] in FINAL:
            return row
    return {}


def wrong_type(row: Mapping[str, Any]) -> str:
    """Return what is wrong with the first column that is not of its setting's type, or nothing."""
    for key, hint in column_types().items():
        if key in row and not fits(row[key], hint):
            return wrong_value(key, row[key])
    return ""


def wrong_value(key: str, value: Any) -> str:
    """Return what is wrong with a column's value that is not of its setting's type, or nothing."""
    if fits(value, column_types().get(key, Any)):
        return ""
    return f"{key} is {'empty' if value in (None, '') else quoted(value)}"


def result_is_at_chance(result: Mapping[str, Any]) -> bool:
    """Return whether guessing explains a result's test accuracy; False where that is not known."""
    accuracy, chance = result.get("test_accuracy"), result.get("chance_accuracy")
    images = result.get("test_images")
    if accuracy is None or not chance or not images:
        return False
    return is_at_chance(accuracy, images, round(1 / chance))


def is_at_chance(accuracy: float, num_images: int, num_classes: int) -> bool:
    """Return whether guessing explains an accuracy on `num_images`: one-sided binomial test, 1 %.

    True says that nothing was shown to be learned, not that nothing was.
    """
    correct = round(accuracy * num_images)
    if correct * num_classes <= num_images:  # no more than guessing gives on average
        return True
    return _at_least(correct, num_images, 1 / num_classes) > CHANCE_LEVEL


def _at_least(successes: int, trials: int, chance: float) -> float:
    """Return the probability of so many successes or more, for more than trials × chance.

    `scipy.special.bdtrc` in a few lines: a run would take a third of a second to import that.
    """
    odds, failures = chance / (1 - chance), trials - successes
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(failures + 1)
    term = math.exp(ways + successes * math.log(chance) + failures * math.log1p(-chance))
    total = 0.0
    for number in range(successes, trials + 1):  # each term is smaller than the one before
        total += term
        term *= (trials - number) / (number + 1) * odds
        if term <= total * 1e-17:
            break
    return total
