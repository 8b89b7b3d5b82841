"""What the user has to change, in two lines."""

from collections.abc import Sequence
from typing import Any

from nnexp.settings import ConfigError
from nnexp.settings.suggestions import nearest


def say_error(error: ConfigError) -> int:
    """Print what is wrong and what would do to standard error; return the exit code for it."""
    from nnexp import console

    console.say_error(error.problem, error.remedy)
    return 2


def usage_problem(error: Exception, words: Sequence[str]) -> ConfigError:
    """Return Click's complaint as ours."""
    flag = getattr(error, "option_name", None)
    if flag and "No such option" in str(error):
        return _no_such_option(error, flag, words)
    where = getattr(getattr(error, "ctx", None), "command_path", "nnexp")
    problem, _, meant = str(error).rstrip(".?").partition(". ")
    remedy = meant[:1].lower() + meant[1:].replace("'", "") or f"{where} -h shows what there is"
    return ConfigError(problem[:1].lower() + problem[1:], remedy)


def _no_such_option(error: Any, flag: str, words: Sequence[str]) -> ConfigError:
    """Name the nearest option, or how the command takes a setting of that name."""
    from nnexp.settings.choices import read_choices
    from nnexp.settings.overrides import no_such_flag

    flags = [one.lstrip("-") for one in error.possibilities or ()]
    if near := nearest(flag.lstrip("-"), flags):
        return ConfigError(f"no option {flag}", f"did you mean --{near}")
    rest = (words[at:] for at, word in enumerate(words) if word.startswith(flag))
    word, *after = next(rest, [flag])  # -z of -nz begins no word
    takes = {parameter.name for parameter in error.ctx.command.params}
    form = "conditions are written --where" if "where" in takes else "settings are written"
    told = no_such_flag(word, after[0] if after else "", read_choices(), form)
    if takes.isdisjoint(("where", "overrides")):
        return ConfigError(told.problem, "-h lists the options")
    return told
