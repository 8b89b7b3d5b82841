"""A run's identity: its signature, its name, its settings as columns and as YAML."""

import hashlib
import json
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, get_args, get_origin

from nnexp.settings.errors import ConfigError
from nnexp.settings.schema import ExperimentConfig, list_settings
from nnexp.settings.sharing import shareable_folder, without_home
from nnexp.settings.values import is_number, quoted

# Settings that change how a run executes, or what is written of it, but not what it learns.
NOT_IDENTITY = frozenset(key for key, setting in list_settings().items() if not setting.identity)


def signature(config: ExperimentConfig) -> str:
    """Return eight hex digits over every result-deciding setting that is not at its default.

    Hashing the difference from the defaults keeps old signatures valid when a new setting
    with a default is added.
    """
    default = _defaults()
    chosen = {
        key: value
        for key, value in sorted(flatten(config).items())
        if key not in NOT_IDENTITY and value != default.get(key)
    }
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:8]


@cache
def _defaults() -> dict[str, Any]:
    return flatten(ExperimentConfig())


def run_id(config: ExperimentConfig) -> str:
    """Return the run folder's name: readable in front, unique by its signature."""
    return (
        f"{config.model.name}-{config.norm.name}-bs{config.batch_size}"
        f"-s{config.seed}-{signature(config)}"
    )


def flatten(tree: "ExperimentConfig | dict[str, Any]", prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names, as on the command line."""
    nested: Any = asdict(tree) if is_dataclass(tree) and not isinstance(tree, type) else tree
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def result_head(config: ExperimentConfig, status: str) -> dict[str, Any]:
    """Return the columns that lead every result: what the run is, then every other setting."""
    declared = sorted(list_settings().values(), key=lambda one: one.kind is dict)
    settings = {one.key: attrgetter(one.key)(config) for one in declared}
    settings |= shareable(settings) | {"plugins": [*map(without_home, config.plugins)]}
    names = {"model": settings.pop("model.name"), "norm": settings.pop("norm.name")}
    first = {key: settings.pop(key) for key in ("batch_size", "seed")}
    return {"run_id": run_id(config), "status": status, **names, **first, **settings}


def shareable(row: dict[str, Any]) -> dict[str, str]:
    """Return the columns of a row that hold paths, without the user's home folder."""
    paths = dict.fromkeys(("data.root", "data.cache_dir", "reason"), without_home)
    return {
        key: write(row[key])
        for key, write in {**paths, "runs_dir": shareable_folder}.items()
        if isinstance(row.get(key), str)
    }


@cache
def column_types() -> dict[str, Any]:
    """Return the type of every column that leads a result: see `result_head`."""
    names = {"model.name": "model", "norm.name": "norm"}
    settings = {names.get(key, key): one.hint for key, one in list_settings().items()}
    return {"run_id": str, "status": str, **settings}


def fits(value: object, hint: Any) -> bool:
    """Return whether a value that was read from a file is one of a setting's type."""
    if hint is float:
        return is_number(value)
    if type(hint) is type:  # not one with parts, as list[str] is
        return type(value) is hint and (hint is not int or abs(value) < 2**63)  # pyright: ignore[reportArgumentType]
    if hint is Any:
        return True
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return any(fits(value, one) for one in inner)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    return isinstance(value, dict) and all(
        fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items()
    )


def to_yaml(config: ExperimentConfig) -> str:
    """Return every setting as YAML; `from_yaml` reads it back."""
    import yaml

    return yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)


def from_yaml(text: str) -> ExperimentConfig:
    """Return the settings that `to_yaml` wrote.

    Raises:
        ConfigError: A key or value is not one of this version's.
    """
    import yaml

    parts = {part.name: part.default_factory for part in fields(ExperimentConfig)}
    try:
        # with aliases a few lines can fill the memory
        if "*" in text and any(
            isinstance(one, yaml.AliasEvent) for one in yaml.parse(text, yaml.SafeLoader)
        ):
            raise ValueError("it has an alias (*name)")
        tree = yaml.safe_load(text)
        for key, value in tree.items():
            part = parts.get(key)
            if isinstance(part, type) and is_dataclass(part):
                tree[key] = part(**value)
        config = ExperimentConfig(**tree)
        for key, setting in list_settings().items():
            if not fits(value := attrgetter(key)(config), setting.hint):
                raise ValueError(f"{key} is {quoted(value)}")
    except RecursionError:
        raise ConfigError("config.yaml cannot be read: it is nested too deeply") from None
    except (TypeError, ValueError, AttributeError, yaml.YAMLError) as error:  # no such keys
        raise ConfigError(f"config.yaml cannot be read: {error}") from error
    return config
