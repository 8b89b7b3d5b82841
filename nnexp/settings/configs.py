"""The folder of the packaged configs, the names in it, and the folder that `data.root` names."""

from functools import cache
from pathlib import Path

from nnexp.settings.errors import ConfigError

LAYOUT = "data.root needs train/<class>/ and test/<class>/ with pictures in them"


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
