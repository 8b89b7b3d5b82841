"""The text of a table's cell → what it is sorted by."""

import re

from nnexp.compare.tables import BEST_SIGN, NEAR_SIGN

NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
COUNT = re.compile(r"\d+ of \d+ ")


def sort_value(text: str) -> str | None:
    """Return the number that a cell is sorted by, or None where it begins with none.

    `≥ 0.08` is sorted by 0.08.
    """
    bare = text.lstrip(f"{BEST_SIGN}{NEAR_SIGN}<≥ ")
    found = NUMBER.match(bare)
    if not found or COUNT.match(bare):
        return None
    return found[0].replace(",", "").replace("−", "-")


def whole_number(text: str) -> str | None:
    """Return a label that is a number altogether, as a batch size is and `3x3` is not."""
    found = NUMBER.fullmatch(text)
    return found[0].replace(",", "") if found else None
