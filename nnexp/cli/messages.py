"""What the user has to change, in two lines."""

from collections.abc import Sequence

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
        from nnexp.settings.choices import read_choices
        from nnexp.settings.overrides import no_such_flag

        after = words[words.index(flag) + 1 :] if flag in words else []
        told = no_such_flag(flag, after[0] if after else "", read_choices())
        flags = [one.lstrip("-") for one in getattr(error, "possibilities", None) or ()]
        if near := nearest(flag.lstrip("-"), flags):
            return ConfigError(told.problem, f"did you mean --{near}")
        return told
    where = getattr(getattr(error, "ctx", None), "command_path", "nnexp")
    problem, _, meant = str(error).rstrip(".?").partition(". ")
    remedy = meant[:1].lower() + meant[1:].replace("'", "") or f"{where} -h shows what there is"
    return ConfigError(problem[:1].lower() + problem[1:], remedy)
