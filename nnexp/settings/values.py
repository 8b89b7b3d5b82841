"""A wrong value as an error names it."""

import sys
from collections.abc import Iterable, Sequence

from nnexp.settings.errors import ConfigError

LONGEST_QUOTE = 40  # characters of a wrong value


def quoted(value: object) -> str:
    """Return a wrong value as an error names it."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


def as_list(words: Sequence[str]) -> Sequence[str]:
    """Return texts as they are, and a text alone, which is a sequence of letters, as a list."""
    return [words] if isinstance(words, str) else words


def check_words(function: str, words: Iterable[object]) -> None:
    """Refuse a list where a function takes each word as an argument of its own.

    Raises:
        ConfigError: A word is not a text.
    """
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(
                f"{function} cannot take {quoted(word)}",
                f"write {function}(*words), each word a text",
            )


def is_typed_number(text: str) -> bool:
    """Return whether a text is such a number, as it is typed."""
    try:
        return is_number(float(text))
    except ValueError:
        return False


def is_number(value: object) -> bool:
    """Return whether a value is a number that can be computed with: finite, and no truth value."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # pyright: ignore[reportArgumentType]
