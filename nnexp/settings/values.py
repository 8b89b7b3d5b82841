"""A wrong value as an error names it."""

import sys

LONGEST_QUOTE = 40  # characters of a wrong value


def quoted(value: object) -> str:
    """Return a wrong value as an error names it."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


def is_typed_number(text: str) -> bool:
    """Return whether a text is such a number, as it is typed."""
    try:
        return is_number(float(text))
    except ValueError:
        return False


def is_number(value: object) -> bool:
    """Return whether a value is a number that can be computed with: finite, and no truth value."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # pyright: ignore[reportArgumentType]
