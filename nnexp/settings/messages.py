"""What Hydra and OmegaConf complain about, in two short lines that say what would do."""

import re
from collections.abc import Iterator
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError, YAMLError

from nnexp.settings.choices import Choices
from nnexp.settings.errors import ConfigError, no_such_option
from nnexp.settings.suggestions import nearest, nearest_keys

# Everything by which Hydra says that the user's words or files cannot be composed.
COMPLAINTS = (
    *(HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError, RecursionError),
)
TECHNICAL = ("full_key:", "object_type=", "reference_type=")  # lines that OmegaConf adds
LISTS = "nnexp configs lists what there is"
LONGEST = 200  # characters of a foreign message that still read as one line


def no_such_setting(key: str, value: str, choices: Choices) -> ConfigError:
    """Return the error for a key that is nowhere, with the one that was meant."""
    near = nearest_keys(key, choices.keys)
    parent = key.rpartition(".")[0]
    if near:
        remedy = "did you mean " + " or ".join(_written(one, value, choices) for one in near[:2])
    elif parent in choices.parts:
        inside = [one for one in choices.settings if one.startswith(f"{parent}.")]
        remedy = f"{parent} has {', '.join(one.partition('.')[2] for one in inside)}"
    elif key.startswith("hydra."):
        remedy = "nnexp train --cfg hydra lists Hydra's own"
    else:
        remedy = LISTS
    return ConfigError(f"no setting {key!r}", remedy)


def explain(error: BaseException, choices: Choices) -> ConfigError:
    """Return what went wrong while composing, and what would do."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ConfigError):
            return one
    if isinstance(error, RecursionError):
        return ConfigError(
            "the defaults of the configs go round in a circle",
            "look for a config whose defaults name itself, or name one that names it",
        )
    for one in chain:
        if isinstance(one, MarkedYAMLError) and (mark := one.problem_mark):
            problem = f"{mark.name} is not YAML in line {mark.line + 1}"
            return ConfigError(problem, f"{one.problem or one.context}")
        if isinstance(one, MissingConfigException):
            return _missing_file(one, choices)
        if isinstance(one, OmegaConfBaseException):
            return _refused(one, error, choices)
    if isinstance(error, OSError):
        return ConfigError(
            f"{error.filename}: {(error.strerror or str(error)).lower()}",
            "name a folder that is there and yours to write in",
        )
    return _first_lines(error)


def _written(key: str, value: str, choices: Choices) -> str:
    """Return `key=value` as it should have been typed, the value of a group put right too."""
    options = choices.groups.get(key)
    if options and value and "," not in value:
        value = value if value in options else nearest(value, options) or value
    return f"{key}={value}" if value else key  # no value: the key stands in a file


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _missing_file(error: MissingConfigException, choices: Choices) -> ConfigError:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = choices.groups.get(group) or error.options
    if options:
        return no_such_option(group, name, group, options)
    return ConfigError(f"no config {group or name!r}", LISTS)


def _refused(error: OmegaConfBaseException, outer: BaseException, choices: Choices) -> ConfigError:
    """Explain a key or a value that does not fit the settings, in an override or in a file."""
    key = re.sub(r"\[.*", "", error.full_key or "")
    setting = choices.settings.get(key) or choices.settings.get(key.rpartition(".")[0])
    override = re.search(r"(?:Error merging override|Could not override) '?([^'\n]*)", str(outer))
    value = override[1].partition("=")[2] if override else ""
    in_file = re.match(r"In '([^']+)'", str(outer))
    where = f"{in_file[1]}.yaml: " if in_file and Path(in_file[1]).name != "config" else ""
    if isinstance(error, (ConfigKeyError, AttributeError)):
        told = no_such_setting(key, value, choices)
    elif setting is None:
        told = _first_lines(error)
    elif unset := re.search(r"Environment variable '(.*?)' not found", str(error)):
        told = ConfigError(
            f"{key} needs the environment variable {unset[1]}, which is not set",
            f"set it, or write {key}=${{oc.env:{unset[1]},VALUE}}",
        )
    elif isinstance(error, InterpolationResolutionError) and not isinstance(error, ValidationError):
        told = ConfigError(f"{key}: {_first_lines(error).problem}", setting.needs())
    else:
        found = re.search(r"[Vv]alue '(.*?)'", str(error))
        shown = _quoted(value or (found[1] if found else "that"))
        told = ConfigError(f"{key} cannot be {shown}", setting.needs())
    return ConfigError(where + told.problem, told.remedy)


def _quoted(value: str) -> str:
    """Put quotes around text, as Python does; numbers and null stand bare."""
    bare = re.fullmatch(r"[-+]?[\d.][\d_.e+-]*|null|true|false|nan|[-+]?inf", value, re.IGNORECASE)
    return value if bare else repr(value)


def _first_lines(error: BaseException) -> ConfigError:
    """Return the first two lines of a foreign message: better than all of it."""
    lines = [line.strip()[:LONGEST] for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(TECHNICAL)]
    problem = lines[0] if lines else type(error).__name__
    return ConfigError(problem, lines[1] if len(lines) > 1 else LISTS)
