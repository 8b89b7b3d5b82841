"""What there is to choose from: groups, their options, and every setting with its words."""

import inspect
import itertools
import math
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from nnexp.settings.checks import WORDS, config_home, names_in
from nnexp.settings.errors import ConfigError
from nnexp.settings.schema import ExperimentConfig

OWN_CONFIGS = Path("configs")  # in the current folder
MARKER = "nnexp.yaml"  # in it: these configs are meant for nnexp
COMMENT = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)
NUMBERS = {int: "a whole number", float: "a number"}
EXAMPLES = {str: "a text", list: "a list: {key}={list}", dict: "a name for each: {key}.a=b"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting: its dotted name, what it takes, its default, and what it decides."""

    key: str
    kind: type  # int, float, bool, str, list or dict
    optional: bool
    default: Any
    explanation: str

    @property
    def words(self) -> list[str]:
        """The values that can be listed; none where any number or text will do."""
        group, _, leaf = self.key.rpartition(".")
        if group and leaf == "name":
            return list(names_in(group))
        if self.kind is bool:
            return ["true", "false"]
        return list(WORDS.get(self.key, ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """The groups with their options and files, and the settings, of one set of config folders."""

    groups: dict[str, dict[str, Path]]
    settings: dict[str, Setting]

    @property
    def parts(self) -> set[str]:
        """The settings that hold settings: model, norm, data, …"""
        return {key.partition(".")[0] for key in self.settings if "." in key}

    @property
    def keys(self) -> set[str]:
        """Everything that can stand left of `=`."""
        return {*self.groups, *self.settings}


def read_choices(config_dir: str | None = None) -> Choices:
    """Return all that can be chosen, with the user's own configs and those of `config_dir`."""
    return Choices(groups=_list_groups(config_dirs(config_dir)), settings=list_settings())


def own_configs() -> Path | None:
    """Return the current folder's `configs/` where a marker says that it is meant for nnexp."""
    own = OWN_CONFIGS.absolute()
    if (own / MARKER).is_file() and own.resolve() != config_home():
        return own
    return None


def config_dirs(config_dir: str | None = None) -> list[Path]:
    """Return the config folders, the strongest first: as Hydra searches them.

    Raises:
        ConfigError: `config_dir` is not a folder.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ConfigError(
            f"no folder {config_dir!r}", "--config-dir needs a folder with configs in it"
        )
    own = own_configs()
    extra = [] if config_dir is None else [Path(config_dir).absolute()]
    return [*([own] if own else []), config_home(), *extra]


@cache
def list_settings(part: type = ExperimentConfig, prefix: str = "") -> dict[str, Setting]:
    """Return every setting by its dotted name, explained by the comment behind its default."""
    explanations = dict(COMMENT.findall(inspect.getsource(part)))
    types = get_type_hints(part)
    settings: dict[str, Setting] = {}
    for item in fields(part):
        key, kind = prefix + item.name, types[item.name]
        if is_dataclass(kind):
            settings |= list_settings(kind, f"{key}.")  # pyright: ignore[reportArgumentType]
            continue
        inner = [one for one in get_args(kind) if one is not type(None)]
        optional = get_origin(kind) is UnionType
        kind = inner[0] if optional else get_origin(kind) or kind
        default = item.default if item.default is not MISSING else item.default_factory()  # pyright: ignore[reportCallIssue]
        settings[key] = Setting(
            key=key,
            kind=kind,
            optional=optional,
            default=default,
            explanation=explanations.get(item.name, ""),
        )
    return settings


def what_it_needs(setting: Setting) -> str:
    """Return what a setting takes, in the words of its own check where that has any."""
    if setting.kind in (int, float):
        needs = _remedy_of_its_check(setting) or f"it needs {NUMBERS[setting.kind]}"
    elif setting.words:
        needs = f"it needs one of {', '.join(setting.words)}"
    else:
        usual = str(setting.default or "[a,b]").replace(" ", "")
        needs = f"it needs {EXAMPLES[setting.kind].format(key=setting.key, list=usual)}"
    return f"{needs}, or null" if setting.optional else needs


def explain_option(file: Path) -> str:
    """Return the first comment of an option's file, Hydra's own directives left aside."""
    return next(iter(remarks(file)), "")


def remarks(file: Path) -> list[str]:
    """Return the comments that head an option's file, Hydra's own directives left aside."""
    text = file.read_text("utf-8", errors="replace")
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line.lstrip("# ").strip() for line in head if "@package" not in line]


def _remedy_of_its_check(setting: Setting) -> str:
    """Give the setting's own check a number that it refuses, and return what it says."""
    part, _, leaf = setting.key.rpartition(".")
    owner: Any = get_type_hints(ExperimentConfig)[part] if part else ExperimentConfig
    try:
        owner(**{leaf: -1 if setting.kind is int else math.nan})
    except ConfigError as error:
        return error.remedy
    return ""


def _list_groups(dirs: list[Path]) -> dict[str, dict[str, Path]]:
    """Return each group's options and the file of each; the first folder that has one wins."""
    groups: dict[str, dict[str, Path]] = {}
    for home in dirs:
        for file in sorted(home.glob("*/**/*.yaml")):
            group = file.parent.relative_to(home).as_posix()
            if file.is_file() and group.split("/")[0] != "hydra":
                groups.setdefault(group, {}).setdefault(file.stem, file)
    return groups
