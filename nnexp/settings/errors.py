"""What the user has to change: what is wrong, and what would do."""

from collections.abc import Iterable

from nnexp.settings.suggestions import nearest


class ConfigError(Exception):
    """Something the user has to change: what is wrong, and what would do.

    Args:
        problem: The first line of the message; names the setting and its value.
        remedy: The second line; says what would do.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}".strip()


def no_such_option(group: str, word: str, key: str, options: Iterable[str]) -> ConfigError:
    """Return the error for `key=word` where `word` is none of a group's options."""
    listed = f"{group}: {', '.join(options)}"
    near = nearest(word, options)
    remedy = f"did you mean {key}={near} ({listed})" if near else listed
    return ConfigError(f"no {group} {word!r}", remedy)
