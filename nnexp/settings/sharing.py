"""Paths as they may be shared: without the name of the user's home folder."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path


def without_home(text: str) -> str:
    """Return text in which every path under the user's home folder begins with `~`."""
    home = os.path.expanduser("~").rstrip("/")  # noqa: PTH111  Path.home fails without one
    if home in ("", "~") or home not in text:
        return text
    return re.sub(rf"(?<![\w./~-]){re.escape(home)}(?![\w.-])", "~", text)


def shareable_folder(folder: str) -> str:
    """Return a folder relative to the current one where it lies inside, else without the home."""
    path = Path(folder)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return without_home(folder)


def shareable_command(words: Sequence[str]) -> str:
    """Return a command line that can be typed again, without the user's home folder.

    Hydra takes a value that begins with `~` only in quotes, a shell expands it only outside.
    """
    return " ".join(map(_shareable_word, words))


def _shareable_word(word: str) -> str:
    short = without_home(word)
    key, _, value = short.partition("=")
    if short == word or (not short.startswith("~/") and not value.startswith("~")):
        return shlex.quote(short)
    if value:
        return shlex.quote(f'{key}="{value}"')
    return f"~/{shlex.quote(short[2:])}"
