"""From words to settings: Hydra composes the configs, and what comes out is typed and checked."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from nnexp.checks import ConfigError, config_home
from nnexp.choices import Choices, own_configs, read_choices
from nnexp.config import ExperimentConfig, run_id
from nnexp.messages import COMPLAINTS, explain
from nnexp.overrides import (
    check_overrides,
    every_combination,
    split_words,
    value_of,
)

# What Hydra runs: the settings of a job and the overrides that made them → its exit code.
Task = Callable[[ExperimentConfig, list[str]], int]

# Hydra 1.3 warns without a version_base, 1.4 warns with one.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


class OwnConfigs(SearchPathPlugin):
    """Lets the user's own configs add to the packaged ones, and override them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the marked `configs/` of the current folder in front."""
        if own := own_configs():
            search_path.prepend("own configs", f"file://{own}")


@cache
def register() -> None:
    """Tell Hydra and OmegaConf the schema, the run's name and where the user's configs are."""
    ConfigStore.instance().store("schema", ExperimentConfig)
    # OmegaConf 2.4 gives this call another name, by which 2.3 means an older one.
    old = omegaconf.__version__.startswith("2.3.")
    add_resolver: Any = OmegaConf.register_new_resolver if old else OmegaConf.register_resolver
    add_resolver("run_id", lambda *, _root_: run_id(to_config(_root_)), replace=True)
    Plugins.instance().register(OwnConfigs)


def compose_config(
    overrides: Sequence[str] = (), config_dir: str | None = None
) -> ExperimentConfig:
    """Return the settings that the overrides give, complete and checked.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    choices = read_choices(config_dir)
    jobs = every_combination(check_overrides(overrides, choices, sweep=False), choices)
    return _compose(jobs, choices, config_dir)[0]


def compose_jobs(
    overrides: Sequence[str], config_dir: str | None = None
) -> list[tuple[list[str], ExperimentConfig]]:
    """Return what a sweep would run: each job's overrides, and its settings.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    choices = read_choices(config_dir)
    jobs = every_combination(check_overrides(overrides, choices, sweep=True), choices)
    return list(zip(jobs, _compose(jobs, choices, config_dir), strict=True))


def run_hydra(words: Sequence[str], task: Task) -> list[int]:
    """Check the words, then run `task` as Hydra runs it: once, or once a job of a sweep.

    Returns:
        What each task returned; nothing where Hydra only showed something.

    Raises:
        ConfigError: A word names nothing, or a value cannot be; no task was begun.
    """
    flags, overrides = split_words(words)
    config_dir = value_of("--config-dir", flags)
    choices = read_choices(config_dir)
    parsed = check_overrides(overrides, choices, sweep="--multirun" in flags)
    if "--hydra-help" not in flags:
        config_name = value_of("--config-name", flags) or "config"
        _compose(every_combination(parsed, choices), choices, config_dir, config_name)
    as_hydra_takes_them = [one.input_line for one in parsed if one.input_line]
    return _run_main([*flags, *as_hydra_takes_them], task, choices)


def to_config(composed: DictConfig) -> ExperimentConfig:
    """Return composed settings as what they are typed as; `hydra`'s own settings stay behind.

    Raises:
        ConfigError: A key is not in the schema, or a value cannot be.
    """
    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    if missing := OmegaConf.missing_keys(own):  # merging them would take their defaults
        raise ConfigError(f"{min(missing)} has no value", f"write {min(missing)}=VALUE")
    with _explained():
        config = OmegaConf.to_object(OmegaConf.merge(ExperimentConfig, own))
    assert isinstance(config, ExperimentConfig)
    return config


def _compose(
    jobs: Iterable[list[str]],
    choices: Choices,
    config_dir: str | None,
    config_name: str = "config",
) -> list[ExperimentConfig]:
    """Compose each list of overrides, as `hydra.main` would."""
    register()
    extra = [f"hydra.searchpath=[{_file_url(config_dir)}]"] if config_dir else []
    with _explained(choices), hydra.initialize_config_dir(str(config_home()), **VERSION_BASE):
        return [to_config(hydra.compose(config_name, [*extra, *job])) for job in jobs]


def _file_url(folder: str) -> str:
    """Return a folder as an element of a list in Hydra's grammar."""
    path = str(Path(folder).absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'file://{path}'"


def _run_main(argv: Sequence[str], task: Task, choices: Choices) -> list[int]:
    """Run `hydra.main` with these words; it hands no result on, so each is kept here."""
    register()
    codes: list[int] = []
    failures: list[Exception] = []

    def job(composed: DictConfig) -> None:
        try:
            codes.append(task(to_config(composed), list(HydraConfig.get().overrides.task)))
        except Exception as error:
            failures.append(error)
            raise

    main = hydra.main(config_path=str(config_home()), config_name="config", **VERSION_BASE)
    try:
        with _words_of_process(["nnexp train", *argv]):
            main(job)()
    except COMPLAINTS as error:
        if failures:  # the task's own, which is not Hydra's to complain about
            raise
        raise explain(error, choices) from error
    return codes


@contextmanager
def _words_of_process(argv: list[str]) -> Iterator[None]:
    """Let `hydra.main` read these words, and raise its errors instead of printing them."""
    words, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = words
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


@contextmanager
def _explained(choices: Choices | None = None) -> Iterator[None]:
    """Turn what Hydra and OmegaConf complain about into a ConfigError."""
    try:
        yield
    except COMPLAINTS as error:
        raise explain(error, choices or read_choices()) from error
