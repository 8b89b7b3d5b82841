"""What there is to choose from: groups, their options, and every setting with its words."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnexp.settings.configs import config_home
from nnexp.settings.declaring import Setting, known_names
from nnexp.settings.errors import ConfigError
from nnexp.settings.plugins import load_plugins, plugins_of_environment
from nnexp.settings.schema import list_settings
from nnexp.settings.tables import additions

OWN_CONFIGS = Path("configs")  # in the current folder
MARKER = "nnexp.yaml"  # in it: these configs are meant for nnexp


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """The groups with their options and files, and the settings, of one set of config folders."""

    groups: dict[str, dict[str, Path | str]]  # option → its file, or what a plug-in says of it
    settings: dict[str, Setting]
    config_dir: str | None = None  # the folder that `--config-dir` adds

    @property
    def parts(self) -> set[str]:
        """The settings that hold settings: model, norm, data, …"""
        return {key.partition(".")[0] for key in self.settings if "." in key}

    @property
    def keys(self) -> set[str]:
        """Everything that can stand left of `=`."""
        return {*self.groups, *self.settings}


def read_choices(config_dir: str | None = None, plugins: Sequence[str] = ()) -> Choices:
    """Return all that can be chosen: nnexp's own, the user's configs, and what plug-ins bring.

    Args:
        config_dir: A folder with more configs.
        plugins: Those that the user typed; else those of the environment are imported.

    Raises:
        ConfigError: `config_dir` is not a folder, or a plug-in cannot be imported.
    """
    load_plugins(plugins or plugins_of_environment())
    if config_dir is not None and not Path(config_dir).is_dir():
        remedy = "--config-dir needs a folder with configs in it"
        raise ConfigError(f"no folder {config_dir!r}", remedy)
    # the strongest first, as Hydra searches them
    dirs = [own_configs(), config_home(), Path(config_dir).absolute() if config_dir else None]
    groups = _list_groups(folder for folder in dirs if folder)
    return Choices(groups=groups, settings=list_settings(), config_dir=config_dir)


def own_configs() -> Path | None:
    """Return the current folder's `configs/` where a marker says that it is meant for nnexp."""
    own = OWN_CONFIGS.absolute()
    if (own / MARKER).is_file() and own.resolve() != config_home():
        return own
    return None


def explain_option(option: Path | str) -> str:
    """Return the first remark of an option's file, or what a plug-in says of its own."""
    return next(iter(remarks(option)), "")


def remarks(option: Path | str) -> list[str]:
    """Return the comments that head an option's file, Hydra's own directives left aside.

    A line that is set in goes on with the line before it.
    """
    if isinstance(option, str):
        return [option]
    text = option.read_text("utf-8", errors="replace")
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    joined = "\n".join(line for line in head if "@package" not in line).replace("\n#   ", " ")
    return [line.lstrip("# ").strip() for line in joined.splitlines()]


def _list_groups(dirs: Iterable[Path]) -> dict[str, dict[str, Path | str]]:
    """Return each group's options and the file of each; the first folder that has one wins."""
    groups: dict[str, dict[str, Path | str]] = {}
    for home in dirs:
        for file in sorted(home.glob("*/**/*.yaml")):
            group = file.parent.relative_to(home).as_posix()
            is_known = home == config_home() or _has_code(group, file)
            if file.is_file() and group.split("/")[0] != "hydra" and is_known:
                groups.setdefault(group, {}).setdefault(file.stem, file)
    for group, options in groups.items():
        for name, addition in additions(group).items():
            options.setdefault(name, addition.about)
    return groups


def _has_code(group: str, file: Path) -> bool:
    """Return whether a user's file is an option: one that is called by an unknown name is none."""
    if f"{group}.name" not in list_settings() or not file.is_file():
        return True
    text = file.read_text("utf-8", errors="replace")
    own = re.search(rf"^name: *['\"]?{re.escape(file.stem)}\b", text, re.MULTILINE)
    return own is None or file.stem in known_names(group)
