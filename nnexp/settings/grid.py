"""Several values of a setting: the grid of a file, and the jobs of a sweep."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hydra.core.override_parser.types import Glob, Override

from nnexp.settings.choices import Choices
from nnexp.settings.errors import ConfigError
from nnexp.settings.overrides import as_added, check_overrides, parse_word


def check_grid(grid: Mapping[str, str], choices: Choices) -> list[Override]:
    """Return what a file's `hydra.sweeper.params` sweep, parsed as Hydra's basic sweeper does.

    Raises:
        ConfigError: A key is nowhere, or an option is none of its group.
    """
    overrides = []
    for key, values in grid.items():
        word = f"{key}={values}"
        try:
            if as_added(word, choices) != word:
                raise ConfigError(f"{key!r} adds to the settings", f"write it ++{key}")
            overrides += check_overrides([word], choices, sweep=True)
        except ConfigError as error:
            raise ConfigError(f"hydra.sweeper.params: {error.problem}", error.remedy) from error
    return overrides


def refuse_grid(overrides: Sequence[Override], grid: Mapping[str, str]) -> None:
    """Refuse a grid where one run is wanted, unless every key of it is typed."""
    typed = {one.key_or_group for one in overrides}
    if any(key.lstrip("+") not in typed for key in grid):
        study = next((one.input_line for one in overrides if one.key_or_group == "study"), "")
        raise ConfigError(
            f"{study or 'hydra.sweeper.params'} is a grid", f"use nnexp sweep {study}".rstrip()
        )


def refuse_intervals(words: Sequence[str]) -> None:
    """Refuse values that only a sweeper which searches can choose, where runs are to be listed."""
    for one in map(parse_word, words):
        is_listed = one.is_discrete_sweep() or isinstance(one.value(), Glob)
        if one.is_sweep_override() and not is_listed:
            raise ConfigError(
                f"the runs of {one.input_line} cannot be listed",
                "the sweeper chooses them as it searches",
            )


def every_combination(overrides: Iterable[Override], choices: Choices) -> list[list[str]]:
    """Return one override list a job, in the order in which Hydra's basic sweeper runs them.

    An interval, which only a sweeper that searches can take values from, is in none of them.
    """
    texts_of = {one.get_key_element(): list(_texts(one, choices)) for one in overrides}
    return [list(job) for job in itertools.product(*filter(None, texts_of.values()))]


def _texts(override: Override, choices: Choices) -> Iterator[str]:
    """Yield the override once for each of its values, as Hydra's sweeper writes them."""
    key = override.get_key_element()
    value = None if override.is_delete() else override.value()
    if isinstance(value, Glob):
        for option in value.filter(list(choices.groups.get(override.key_or_group, ()))):
            yield f"{key}={option}"
    elif override.is_discrete_sweep():
        for text in override.sweep_string_iterator():
            yield f"{key}={text}"
    elif not override.is_sweep_override():  # what is left, intervals, only some sweepers can list
        assert override.input_line is not None
        yield override.input_line
