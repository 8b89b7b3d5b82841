"""What a setting has to satisfy, and what is said when it does not."""

import math
from functools import cache
from pathlib import Path

from nnexp.settings.errors import ConfigError, no_such_option

# The words that a text setting takes, where they are not the files of a group.
WORDS = {
    "norm.conv_bias": ("auto", "always", "never"),
    "norm.implementation": ("torch", "reference"),
    "optimizer.learning_rate_scaling": ("none", "linear", "sqrt"),
    "init": ("he", "torch"),
    "precision": ("fp32", "bf16"),
}


LAYOUT = "data.root needs train/<class>/ and test/<class>/ with pictures in them"


MOST = 10_000_000  # of anything that is counted: with more, no run ends or fits into memory


def config_home() -> Path:
    """Return the folder of the packaged configs: in a wheel beside us, else in the checkout."""
    here = Path(__file__).resolve().parent.parent
    for home in (here / "configs", here.parent / "configs"):
        if (home / "config.yaml").is_file():
            return home
    raise AssertionError("nnexp was installed without its configs/")


def find_folder(root: str | None) -> Path:
    """Return the folder that `data.root` names; can be asked before torch is imported.

    Raises:
        ConfigError: `data.root` is not set, or no folder.
    """
    if root is None:
        raise ConfigError("data.root is not set", f"data=folder data.root=FOLDER: {LAYOUT}")
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"data.root={root} is not a folder", LAYOUT)
    return folder


@cache
def names_in(group: str) -> tuple[str, ...]:
    """Return the names that code exists for: one packaged file each."""
    return tuple(sorted(file.stem for file in (config_home() / group).glob("*.yaml")))


def check_name(group: str, key: str, name: str) -> None:
    """Refuse a name that `group` has no packaged file for."""
    if name not in names_in(group):
        raise no_such_option(group, name, key, names_in(group))


def check_word(key: str, value: str) -> None:
    """Refuse a word that the setting does not take."""
    if value not in WORDS[key]:
        raise ConfigError(f"{key} cannot be {value!r}", f"it needs one of {', '.join(WORDS[key])}")


def check_count(key: str, value: int, least: int, most: int = MOST) -> None:
    """Refuse a whole number below `least` or above `most`."""
    if not least <= value <= most:
        bound = f"at least {least}" if value < least else f"at most {most}"
        raise ConfigError(f"{key} cannot be {value!r}", f"it needs a whole number of {bound}")


def check_kind(key: str, value: object, kind: type, example: str) -> None:
    """Refuse a value that is not a list or a mapping where one is needed."""
    if not isinstance(value, kind):
        raise ConfigError(f"{key} cannot be {value!r}", f"it needs {example}")


def check_positive(key: str, value: float) -> None:
    """Refuse zero, what is below it, infinity and what is no number."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{key} cannot be {value!r}", "it needs a number above 0")


def check_not_negative(key: str, value: float) -> None:
    """Refuse what is below zero, infinity and what is no number."""
    if not 0 <= value < math.inf:
        raise ConfigError(f"{key} cannot be {value!r}", "it needs a number of at least 0")


def check_below_one(key: str, value: float) -> None:
    """Refuse what is no share of the past that an average keeps: 1 would never take in the new."""
    if not 0 <= value < 1:
        raise ConfigError(f"{key} cannot be {value!r}", "it needs a number from 0 to below 1")


def check_range(key: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high], and what is no number."""
    if not low <= value <= high:
        kind = "a whole number" if isinstance(low, int) else "a number"
        raise ConfigError(f"{key} cannot be {value!r}", f"it needs {kind} from {low} to {high}")
