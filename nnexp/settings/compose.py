"""From words to settings: Hydra composes the configs, and what comes out is typed and checked."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from nnexp.settings.choices import Choices, own_configs, read_choices
from nnexp.settings.compose_many import compose_all
from nnexp.settings.configs import config_home, names_in
from nnexp.settings.declaring import check_names
from nnexp.settings.errors import ConfigError
from nnexp.settings.extras import set_plugins
from nnexp.settings.identity import run_id
from nnexp.settings.loader import use_checked_loader
from nnexp.settings.messages import COMPLAINTS, explain
from nnexp.settings.overrides import (
    check_grid,
    check_overrides,
    every_combination,
    plugins_named,
    refuse_grid,
    split_words,
    value_of,
)
from nnexp.settings.plugins import code_of, plugins_of_environment
from nnexp.settings.schema import ExperimentConfig
from nnexp.settings.tables import TABLES, additions

# What Hydra runs: the settings of a job and the overrides that made them → its exit code.
Task = Callable[[ExperimentConfig, list[str]], int]

# Hydra 1.3 warns without a version_base, 1.4 warns with one.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


# `--config-dir` while nnexp composes; where Hydra reads the words itself it knows the folder.
_config_dir: ContextVar[str | None] = ContextVar("config_dir", default=None)


class OwnConfigs(SearchPathPlugin):
    """Lets the user's own configs add to the packaged ones, and override them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the marked `configs/` of the current folder in front, `--config-dir` behind."""
        if own := own_configs():
            search_path.prepend("own configs", f"file://{own}")
        if folder := _config_dir.get():
            search_path.append("command-line", f"file://{Path(folder).absolute()}")


@cache
def register() -> None:
    """Tell Hydra and OmegaConf the schema, the run's name and where the user's configs are."""
    ConfigStore.instance().store("schema", ExperimentConfig)
    # OmegaConf 2.4 gives this call another name, by which 2.3 means an older one.
    old = omegaconf.__version__.startswith("2.3.")
    add_resolver: Any = OmegaConf.register_new_resolver if old else OmegaConf.register_resolver
    add_resolver("run_id", lambda *, _root_: run_id(to_config(_root_)), replace=True)
    add_resolver("in_folder", lambda folder, path: str(Path(folder) / path), replace=True)
    Plugins.instance().register(OwnConfigs)
    use_checked_loader()
    set_plugins()


def store_additions() -> None:
    """Tell Hydra the options that plug-ins bring, which have no files."""
    for group in filter(names_in, TABLES):  # listeners are a list of names and no group
        for name, addition in additions(group).items():
            if name not in names_in(group):
                node = {"name": name, **addition.values}
                ConfigStore.instance().store(name, node, group=group)


def compose(
    *overrides: str, config_dir: str | None = None, plugins: Sequence[str] = ()
) -> ExperimentConfig:
    """Return the settings that words such as `"norm=group"` give, complete and checked.

    Args:
        overrides: Settings as on the command line.
        config_dir: One more folder of configs.
        plugins: Python files or modules with entries of your own; they are imported.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    named = [f"plugins=[{','.join(plugins)}]"] if plugins else []
    return compose_config([*overrides, *named], config_dir)


def compose_config(
    overrides: Sequence[str] = (), config_dir: str | None = None
) -> ExperimentConfig:
    """Return the settings that the overrides give, complete and checked.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    choices = read_choices(config_dir, plugins_named(overrides))
    parsed = check_overrides(overrides, choices, sweep=False)
    with _hydra(choices, config_dir):
        refuse_grid(parsed, _grid(parsed))
    jobs = every_combination(parsed, choices)
    return _compose(jobs, choices, config_dir)[0]


def compose_jobs(
    overrides: Sequence[str],
    config_dir: str | None = None,
    watch: Callable[[list[list[str]]], Iterable[list[str]]] = iter,
) -> list[tuple[list[str], ExperimentConfig]]:
    """Return what a sweep would run: each job's overrides, and its settings.

    Args:
        overrides: Settings as on the command line, with several values.
        config_dir: One more folder of configs.
        watch: Is given the jobs and returns them, such as `rich.progress.track`.

    Raises:
        ConfigError: A word names nothing, or a value cannot be.
    """
    jobs = expand_jobs(overrides, config_dir)
    choices = read_choices(config_dir, plugins_named(overrides))
    return list(zip(jobs, _compose(watch(jobs), choices, config_dir), strict=True))


def expand_jobs(overrides: Sequence[str], config_dir: str | None = None) -> list[list[str]]:
    """Return each job's overrides of a sweep, its study's grid included; composes none of them.

    Raises:
        ConfigError: A word names nothing.
    """
    choices = read_choices(config_dir, plugins_named(overrides))
    parsed = check_overrides(overrides, choices, sweep=True)
    with _hydra(choices, config_dir):
        grid = _grid(parsed)
    return every_combination([*check_grid(grid, choices), *parsed], choices)


def compose_each(
    jobs: Iterable[list[str]], config_dir: str | None = None
) -> list[ExperimentConfig]:
    """Return the settings of each list of overrides, such as `expand_jobs` returns.

    Raises:
        ConfigError: A value cannot be.
    """
    jobs = list(jobs)
    named = list(dict.fromkeys(plugin for job in jobs for plugin in plugins_named(job)))
    return _compose(jobs, read_choices(config_dir, named), config_dir)


def read_grid(overrides: Sequence[str], config_dir: str | None = None) -> dict[str, str]:
    """Return what the files that the overrides name would sweep: key → values.

    Raises:
        ConfigError: A word names nothing.
    """
    choices = read_choices(config_dir, plugins_named(overrides))
    with _hydra(choices, config_dir):
        return _grid(check_overrides(overrides, choices, sweep=True))


def run_hydra(words: Sequence[str], task: Task) -> list[int]:
    """Check the words, then run `task` as Hydra runs it: once, or once a job of a sweep.

    Returns:
        What each task returned; nothing where Hydra only showed something.

    Raises:
        ConfigError: A word names nothing, or a value cannot be; no task was begun.
    """
    flags, overrides = split_words(words)
    config_dir = value_of("--config-dir", flags)
    choices = read_choices(config_dir, plugins_named(overrides))
    parsed = check_overrides(overrides, choices, sweep="--multirun" in flags)
    if "--hydra-help" not in flags:
        config_name = value_of("--config-name", flags) or "config"
        with _hydra(choices, config_dir):
            grid = _grid(parsed, config_name)
        if "--multirun" not in flags and not {"--cfg", "--info"} & set(flags):
            refuse_grid(parsed, grid)
        swept = check_grid(grid, choices) if "--multirun" in flags else []
        if {"--multirun", "--cfg", "--info"} & set(flags):  # a single run is checked as it begins
            jobs = every_combination([*swept, *parsed], choices)
            _compose(jobs, choices, config_dir, config_name)
    as_hydra_takes_them = [one.input_line for one in parsed if one.input_line]
    return _run_main([*flags, *as_hydra_takes_them], task, choices)


def launch_jobs(words: Sequence[str], function: Callable[[DictConfig], float]) -> None:
    """Have Hydra's sweeper and launcher run `function` once a job; it may be pickled on the way.

    Raises:
        ConfigError: A word names nothing, or Hydra cannot make jobs of them.
    """
    flags, overrides = split_words(words)
    choices = read_choices(value_of("--config-dir", flags), plugins_named(overrides))
    parsed = check_overrides(overrides, choices, sweep=True)
    as_hydra_takes_them = [one.input_line for one in parsed if one.input_line]
    with _explained(choices):
        _call_main(["--multirun", *flags, *as_hydra_takes_them], function)


def to_config(composed: DictConfig) -> ExperimentConfig:
    """Return composed settings as what they are typed as; `hydra`'s own settings stay behind.

    Raises:
        ConfigError: A key is not in the schema, or a value cannot be.
    """
    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    if missing := OmegaConf.missing_keys(own):
        raise ConfigError(f"{min(missing)} has no value", f"write {min(missing)}=VALUE")
    with _explained():  # read from `composed`, which has the schema's types; a copy has none
        typed: dict[str, Any] = {
            str(key): OmegaConf.to_object(part) if OmegaConf.is_config(part) else part
            for key in own
            for part in [composed[key]]
        }
        config = ExperimentConfig(**typed)
        config.plugins = config.plugins or plugins_of_environment()
        check_names(config)
        config.code = code_of(config)
        return config


def _compose(
    jobs: Iterable[list[str]],
    choices: Choices,
    config_dir: str | None,
    config_name: str = "config",
) -> list[ExperimentConfig]:
    """Compose each list of overrides, as `hydra.main` would."""
    with _hydra(choices, config_dir):
        return list(compose_all(jobs, choices, to_config, config_name))


def _grid(overrides: Iterable[Override], config_name: str = "config") -> dict[str, str]:
    """Return the `hydra.sweeper.params` that Hydra's basic sweeper would read; Hydra is up."""
    files = [one.input_line for one in overrides if one.input_line and not one.is_sweep_override()]
    composed = hydra.compose(config_name, files, return_hydra_config=True).hydra
    if composed.mode is not None:
        raise ConfigError("hydra.mode cannot be set", "nnexp train runs once, nnexp sweep a grid")
    sweeper = composed.sweeper
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return {}  # another sweeper has a grammar of its own
    return {str(key): str(values) for key, values in (sweeper.params or {}).items()}


@contextmanager
def _hydra(choices: Choices, config_dir: str | None) -> Iterator[None]:
    """Have Hydra ready to compose, its complaints explained."""
    register()
    store_additions()
    token = _config_dir.set(config_dir)
    try:
        with _explained(choices), hydra.initialize_config_dir(str(config_home()), **VERSION_BASE):
            yield
    except RecursionError:
        raise ConfigError(
            "the defaults of the configs go round in a circle",
            "look for a config whose defaults name itself, or name one that names it",
        ) from None
    finally:
        _config_dir.reset(token)


def _run_main(argv: Sequence[str], task: Task, choices: Choices) -> list[int]:
    """Run `hydra.main` with these words; it hands no result on, so each is kept here."""
    codes: list[int] = []
    failures: list[Exception] = []

    def job(composed: DictConfig) -> None:
        try:
            codes.append(task(to_config(composed), list(HydraConfig.get().overrides.task)))
        except Exception as error:
            failures.append(error)
            raise

    try:
        _call_main(argv, job)
    except COMPLAINTS as error:
        if failures:  # the task's own, which is not Hydra's to complain about
            raise
        raise explain(error, choices) from error
    return codes


def _call_main(argv: Sequence[str], function: Callable[[DictConfig], Any]) -> None:
    register()
    store_additions()
    main = hydra.main(config_path=str(config_home()), config_name="config", **VERSION_BASE)
    with _words_of_process(["nnexp train", *argv]):
        main(function)()


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
