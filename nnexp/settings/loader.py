"""Hydra's loader of configs, with one promise more: no config makes Hydra run foreign code."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import hydra._internal.hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from nnexp.settings.errors import ConfigError
from nnexp.settings.plugins import names_plugins

# Everything that a `_target_` may name: Hydra's own, nnexp's, and those of the extras.
PLUGINS = "hydra_plugins.hydra_"
SAMPLERS = ("Grid", "TPE", "Random", "CmaEs", "NSGAII", "MOTPE", "GP", "QMC")
TARGETS = frozenset(
    {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra_plugins.nnexp.ProcessLauncher",
        f"{PLUGINS}joblib_launcher.joblib_launcher.JoblibLauncher",
        f"{PLUGINS}submitit_launcher.submitit_launcher.LocalLauncher",
        f"{PLUGINS}submitit_launcher.submitit_launcher.SlurmLauncher",
        f"{PLUGINS}ray_launcher.ray_launcher.RayLauncher",
        f"{PLUGINS}optuna_sweeper.optuna_sweeper.OptunaSweeper",
        f"{PLUGINS}optuna_sweeper._impl.create_nsgaii_sampler",
        f"{PLUGINS}optuna_sweeper._impl.create_nsgaiii_sampler",
    }
    | {f"optuna.samplers.{name}Sampler" for name in SAMPLERS}
)
# Parameters of launchers and sweepers that name a function or are shell commands.
COMMANDS = frozenset({"custom_search_space", "runtime_env", "setup"})
LOGGING = ("hydra_logging", "job_logging")
LOGGING_CLASSES = (
    *("logging.FileHandler", "logging.NullHandler", "logging.StreamHandler"),
    *("logging.Formatter", "rich.logging.RichHandler"),
)
LOG_FILES = ("${hydra.runtime.output_dir}/${hydra.job.name}.log", "hydra-${hydra.job.name}.log")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
PLUGIN_SETTINGS = ("launcher", "sweeper")  # whose values Hydra hands to code
# References to what was checked in its own place, and resolvers that return nothing but text.
HARMLESS = re.compile(r"\$\{(?:(?:oc\.env|hydra|now):[^${}]*|[\w.]+)\}")

# What a grid may not set: plug-ins, and Hydra's own settings of a job.
FOREIGN = ("hydra", "plugins")

Path = tuple[str, ...]  # the keys that lead to a value


class CheckedLoader(ConfigLoaderImpl):
    """Composes as Hydra's own loader does, and refuses what would run code.

    Every composition passes here: a command's, a job's of a sweep, `--cfg`, in every process.
    """

    def _load_configuration_impl(self, *args: Any, **kwargs: Any) -> DictConfig:
        composed = super()._load_configuration_impl(*args, **kwargs)
        written = OmegaConf.to_container(composed, resolve=False)
        refuse_code(written)
        refuse_plugins(written, kwargs["overrides"])
        return composed

    def _process_config_searchpath(
        self, config_name: str | None, parsed_overrides: Any, repo: Any
    ) -> None:
        """Refuse packages in a file's `hydra.searchpath`: to look into one is to import it."""
        loaded = repo.load_config(config_path=config_name) if config_name else None
        if loaded is not None and OmegaConf.is_dict(loaded.config):
            places = OmegaConf.select(loaded.config, "hydra.searchpath")
            if any(str(place).startswith("pkg:") for place in places or ()):
                raise _refused(("hydra", "searchpath"), "write a folder: file://FOLDER")
        super()._process_config_searchpath(config_name, parsed_overrides, repo)


def use_checked_loader() -> None:
    """Have every later `hydra.main` and `hydra.compose` of this process load with our loader."""
    hydra_internals.ConfigLoaderImpl = CheckedLoader  # pyright: ignore[reportPrivateImportUsage]


def refuse_code(tree: Any) -> None:
    """Refuse settings that would run code, the known launchers and sweepers excepted.

    Looks at values as they are written: a `_target_` that is only worked out later is refused too.
    """
    copied = tree.get("hydra", {}).get("job", {}).get("env_copy", [])
    for path, value in _values(tree):
        if "_target_" in path and not (path[0] == "hydra" and value in TARGETS):
            raise _refused(path, "names stand for code in nnexp, not for paths")
        if path[0] != "hydra" or len(path) < 2:
            continue
        if path[1:3] == ("job", "env_set") and (value or path[3:]) and path[-1] not in copied:
            raise _refused(path, "set the variable in the shell that starts nnexp")
        if path[1] in PLUGIN_SETTINGS and COMMANDS.intersection(path) and value is not None:
            raise _refused(path, "run it in the shell that starts nnexp")
        if _runs_code(path, value):
            raise _refused(path, "a config can set values, and choose among known launchers")


def refuse_plugins(tree: Any, typed: Sequence[str]) -> None:
    """Refuse plug-ins that anything but an override names: they are code, which has to be meant."""
    noted = tree.get("hydra", {}).get("overrides", {})
    words = [word for part in noted.values() for word in part if names_plugins(str(word))]
    is_typed = any(map(names_plugins, typed))
    if set(words) - set(typed) or (tree.get("plugins") and not is_typed):
        raise ConfigError(
            "plugins in a config could run code, and is refused",
            "type it: plugins=[FILE.py], or set NNEXP_PLUGINS",
        )


def _runs_code(path: Path, value: Any) -> bool:
    """Return whether Hydra or the standard library would make code of a value below `hydra`."""
    part = path[1]
    if part == "callbacks":
        return len(path) > 2 or bool(value)
    if part in LOGGING:
        return _is_foreign_logging(path, value)
    if part == "sweeper" and any(key.lstrip("+~").startswith(FOREIGN) for key in path[2:]):
        return True
    if part not in PLUGIN_SETTINGS and len(path) > 2:
        return False
    text = HARMLESS.sub("", value) if isinstance(value, str) else ""
    return "${" in text or not all(map(str.isprintable, path))


def _is_foreign_logging(path: Path, value: Any) -> bool:
    """Return whether `logging.config.dictConfig` would import something, or write elsewhere."""
    if "()" in path or (path[-1] == "class" and value not in LOGGING_CLASSES):
        return True
    if path[-1] == "filename" or (isinstance(value, str) and "${" in value):
        return value not in LOG_FILES
    return isinstance(value, str) and value.startswith("ext:") and value not in STREAMS


def _values(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield everything that is neither a full mapping nor a full list, with its keys."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, (dict, list)) and value:
            yield from _values(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def _refused(path: Path, remedy: str) -> ConfigError:
    return ConfigError(f"{'.'.join(path)!r} in a config could run code, and is refused", remedy)
