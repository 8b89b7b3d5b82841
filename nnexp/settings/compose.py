"""From words to settings: Hydra composes the configs, and what comes out is typed and checked.

Every function here raises a ConfigError where a word names nothing or a value cannot be.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import omegaconf
from hydra._internal.callbacks import Callbacks
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, env_override, run_job
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from nnexp.settings.choices import Choices, own_configs, read_choices
from nnexp.settings.compose_many import compose_all
from nnexp.settings.configs import config_home, names_in
from nnexp.settings.errors import ConfigError
from nnexp.settings.extras import set_plugins
from nnexp.settings.grid import check_grid, every_combination, refuse_grid
from nnexp.settings.identity import run_id
from nnexp.settings.known import check_names
from nnexp.settings.loader import use_checked_loader
from nnexp.settings.messages import COMPLAINTS, explain
from nnexp.settings.overrides import (
    as_typed,
    check_length,
    check_overrides,
    plugins_named,
    split_words,
    value_of,
)
from nnexp.settings.own_hydra import own_hydra
from nnexp.settings.plugins import code_of, load_plugins, plugins_of_environment
from nnexp.settings.schema import ExperimentConfig
from nnexp.settings.tables import TABLES, additions
from nnexp.settings.values import as_list, check_words

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
    add_resolver("run_id", lambda *, _root_: _name_of(_root_), replace=True)
    add_resolver("in_folder", lambda folder, path: str(Path(folder) / path), replace=True)
    Plugins.instance().register(OwnConfigs)
    use_checked_loader()
    set_plugins()


def store_additions() -> None:
    """Tell Hydra what there is, and the options that plug-ins bring, which have no files."""
    register()
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
    check_words("compose", overrides)
    named = [f"plugins=[{','.join(as_list(plugins))}]"] if plugins else []
    return compose_config([*overrides, *named], config_dir)


def compose_config(
    overrides: Sequence[str] = (), config_dir: str | None = None
) -> ExperimentConfig:
    """Return the settings that the overrides give, complete and checked."""
    with _checked(overrides, config_dir) as (parsed, _):
        composed = _compose_files(parsed)
        refuse_grid(parsed, _grid(composed))
        return to_config(composed)


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
    with _hydra(overrides, config_dir) as choices:
        return list(zip(jobs, compose_all(watch(jobs), choices, to_config), strict=True))


def expand_jobs(overrides: Sequence[str], config_dir: str | None = None) -> list[list[str]]:
    """Return each job's overrides of a sweep, its study's grid included; composes none of them."""
    with _checked(overrides, config_dir, sweep=True) as (parsed, choices):
        grid = check_grid(_grid(_compose_files(parsed)), choices)
        return every_combination([*grid, *parsed], choices)


def compose_each(
    jobs: Sequence[list[str]], config_dir: str | None = None
) -> list[ExperimentConfig]:
    """Return the settings of each list of overrides, such as `expand_jobs` returns."""
    words = list(dict.fromkeys(word for job in jobs for word in job))
    with _hydra(words, config_dir) as choices:
        return list(compose_all(jobs, choices, to_config))


def read_grid(overrides: Sequence[str], config_dir: str | None = None) -> dict[str, str]:
    """Return what the files that the overrides name would sweep: key → values."""
    with _checked(overrides, config_dir, sweep=True) as (parsed, _):
        return _grid(_compose_files(parsed))


def run_hydra(words: Sequence[str], task: Task) -> list[int]:
    """Run `task` with the settings that the words give, or have Hydra show what its flags ask for.

    Returns:
        What the task returned; nothing where Hydra only showed something.
    """
    flags, overrides = split_words(words)
    shows = not {"--cfg", "--info", "--hydra-help"}.isdisjoint(flags)
    config_dir, is_sweep = value_of("--config-dir", flags), "--multirun" in flags
    returned = None
    with _checked(overrides, config_dir, sweep=is_sweep) as (parsed, choices):
        if "--hydra-help" not in flags:
            composed = _compose_files(parsed, value_of("--config-name", flags) or "config")
            config = to_config(composed)
            if not shows:
                refuse_grid(parsed, _grid(composed))
                returned = _run_once(composed, config, task)
    if returned is not None:
        return [returned.return_value]  # where the task failed, this raises its error
    with _explained(choices):
        _call_main([*flags, *as_typed(parsed)], lambda _: None)
    return []


def launch_jobs(words: Sequence[str], function: Callable[[DictConfig], float]) -> None:
    """Have Hydra's sweeper and launcher run `function` once a job; it may be pickled on the way."""
    flags, overrides = split_words(words)
    choices = read_choices(value_of("--config-dir", flags), plugins_named(overrides))
    parsed = check_overrides(overrides, choices, sweep=True)
    with _explained(choices):
        _call_main(["--multirun", *flags, *as_typed(parsed)], function)


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


def _name_of(composed: DictConfig) -> str:
    """Return a run's name, which Hydra asks for in processes that have no plug-in yet, too."""
    folder = OmegaConf.select(composed, "hydra.runtime.cwd") or ""
    load_plugins(composed.plugins or plugins_of_environment(), Path(folder))
    return run_id(to_config(composed))


@contextmanager
def _checked(
    words: Sequence[str], config_dir: str | None, *, sweep: bool = False
) -> Iterator[tuple[list[Override], Choices]]:
    """Check the words, and have Hydra ready to compose what they name."""
    with _hydra(words, config_dir) as choices:
        yield check_overrides(words, choices, sweep=sweep), choices


def _compose_files(overrides: Iterable[Override], config_name: str = "config") -> DictConfig:
    """Return what the overrides that name one value give, with Hydra's own settings."""
    overrides = list(overrides)
    words = as_typed(one for one in overrides if not one.is_sweep_override())
    composed = hydra.compose(config_name, words, return_hydra_config=True)
    if composed.hydra.mode is not None:
        raise ConfigError("hydra.mode cannot be set", "nnexp train runs once, nnexp sweep a grid")
    check_length(overrides, composed.get("max_steps"))
    return composed


def _grid(composed: DictConfig) -> dict[str, str]:
    """Return the `hydra.sweeper.params` that Hydra's basic sweeper would read."""
    sweeper = composed.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return {}  # another sweeper has a grammar of its own
    return {str(key): str(values) for key, values in (sweeper.params or {}).items()}


@contextmanager
def _hydra(words: Sequence[str], config_dir: str | None) -> Iterator[Choices]:
    """Have Hydra ready to compose what the words choose from, its complaints explained."""
    with own_hydra():
        choices = read_choices(config_dir, plugins_named(words))
        store_additions()
        token, home = _config_dir.set(config_dir), str(config_home())
        try:
            with _explained(choices), hydra.initialize_config_dir(home, **VERSION_BASE):
                yield choices
        finally:
            _config_dir.reset(token)


def _run_once(composed: DictConfig, config: ExperimentConfig, task: Task) -> JobReturn:
    """Run the task as `hydra.main` would, which composes the configs twice more."""
    words = list(composed.hydra.overrides.task)
    loader = GlobalHydra.instance().config_loader()
    return run_job(
        task_function=lambda _: task(config, words),
        config=composed,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()),
    )


def _call_main(argv: Sequence[str], function: Callable[[DictConfig], Any]) -> None:
    """Let `hydra.main` read these words, and raise its errors instead of printing them."""
    store_additions()
    typed, sys.argv = sys.argv, ["nnexp train", *argv]
    try:
        with own_hydra(), env_override({"HYDRA_FULL_ERROR": "1"}):
            hydra.main(str(config_home()), "config", **VERSION_BASE)(function)()
    finally:
        sys.argv = typed


@contextmanager
def _explained(choices: Choices | None = None) -> Iterator[None]:
    """Turn what Hydra and OmegaConf complain about into a ConfigError."""
    try:
        yield
    except COMPLAINTS as error:
        raise explain(error, choices or read_choices()) from error
