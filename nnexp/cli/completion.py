"""What the shell offers after <Tab>: groups, options and settings, without importing torch."""

import glob
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nnexp.settings import ConfigError

if TYPE_CHECKING:
    from nnexp.settings.choices import Choices

Offers = dict[str, str]  # whole word → what it is, for the shells that show it
BLOCK = "norm.at."
LAUNCHERS = ("hydra/launcher=process", "hydra/launcher=basic", "hydra/sweeper=basic")  # no extra


def complete_override(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer what the word under the cursor can become: `norm=`, `norm=batch`, `norm.eps=1e-05`."""
    word, shown = _current_word(incomplete)
    prefix = word[: len(word) - len(word.lstrip("+~"))]
    choices = _choices(ctx)
    if choices is None:
        return []
    typed = word.removeprefix(prefix)
    if typed.startswith(BLOCK) and "=" not in typed:
        offers = _blocks(ctx.params.get("overrides") or [], choices)
    elif typed.startswith("hydra"):
        offers = _launchers()
    else:
        offers = _offers(typed, choices)
    whole = {f"{prefix}{offer}": meaning for offer, meaning in offers.items()}
    return _beginning(whole, word, shown)


def complete_choice(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the groups, and after `GROUP=` its options."""
    word, shown = _current_word(incomplete)
    group, has_value, typed = word.partition("=")
    choices = _choices(ctx)
    if choices is None:
        return []
    if has_value:
        offers = _values(group, typed if group == "plugins" else "", choices)
    else:
        offers = dict.fromkeys(sorted({*choices.groups, *choices.parts}), "")
    return _beginning(offers, word, shown)


def _beginning(offers: Offers, word: str, shown: str) -> list[tuple[str, str]]:
    """Return the offers that go on from a word, each from where the shell will replace it."""
    cut = len(word) - len(shown)
    return [(offer[cut:], text) for offer, text in offers.items() if offer.startswith(word)]


def _choices(ctx: typer.Context) -> "Choices | None":
    """Return what there is to choose from, or None where `--config-dir` is not a folder yet."""
    from nnexp.settings.choices import read_choices

    try:
        return read_choices(ctx.params.get("config_dir"))
    except ConfigError:
        return None


def _current_word(incomplete: str) -> tuple[str, str]:
    """Return the word under the cursor, and the part of it that the shell will replace.

    Bash breaks words at `=`, so there the parts are joined again; zsh and fish do not.
    """
    if os.environ.get("_NNEXP_COMPLETE") != "complete_bash":
        return incomplete, incomplete
    words = shlex.split(os.environ.get("COMP_WORDS", ""))
    at = int(os.environ.get("COMP_CWORD", "0"))
    current = words[at] if at < len(words) else ""
    if current == "=" and at >= 1:
        return f"{words[at - 1]}=", ""
    if at >= 2 and words[at - 1] == "=":
        return f"{words[at - 2]}={current}", current
    return current, current


def _blocks(words: Iterable[str], choices: "Choices") -> Offers:
    """Offer the blocks that the files of the models name, of the models on the command line."""
    from nnexp.settings.choices import remarks

    line = "".join(f" {word}" for word in words).replace(" = ", "=")  # bash broke them at `=`
    models = re.findall(r" model=(\S+)", line) or [choices.settings["model.name"].default]
    files = choices.groups["model"]
    chosen = [files[name] for name in models[-1].split(",") if name in files]
    told = [line for file in chosen for line in remarks(file)]
    blocks = [line.removeprefix("blocks: ") for line in told if line.startswith("blocks: ")]
    return {f"{BLOCK}{block}=": "" for block in " ".join(blocks).split()}


def _launchers() -> Offers:
    """Offer Hydra's launchers and sweepers, with the extra of nnexp that brings each."""
    from nnexp.settings.extras import EXTRAS

    brought = {f"{group}={name}": extra for (group, name), (extra, _) in EXTRAS.items()}
    meanings = {word: f"uv sync --extra {extra} brings it" for word, extra in brought.items()}
    return dict.fromkeys(LAUNCHERS, "") | meanings


def _python_files(typed: str) -> Offers:
    """Offer `plugins=[FILE.py]`, and folders on the way; behind a comma one file more."""
    begun, comma, newest = typed.removeprefix("[").rpartition(",")
    found = _paths(newest)
    files = [f"{path}]" for path in found if path.endswith(".py")]
    folders = [f"{path}/" for path in found if Path(path).is_dir()]
    return {f"plugins=[{begun}{comma}{path}": "" for path in [*files, *folders]}


def _paths(begun: str) -> list[str]:
    """Return the paths that go on from one, as it was typed; pathlib would drop its `./`."""
    return sorted(glob.glob(f"{glob.escape(begun)}*"))  # noqa: PTH207


def _offers(word: str, choices: "Choices") -> Offers:
    key, has_value, value = word.partition("=")
    if has_value:
        offers = _values(key, value, choices)
    else:
        offers = _keys(key, choices)
        while len(offers) == 1:  # a shell would end the word here, so look behind it
            (only,) = offers
            behind = _values(only[:-1], "", choices) if only[-1] == "=" else _keys(only, choices)
            if only[-1] == ".":
                offers = behind
                continue
            offers = behind if len(behind) > 1 else offers | behind
            break
    return offers


def _keys(start: str, choices: "Choices") -> Offers:
    """Offer the keys that begin with `start`, one level at a time: `norm=`, `norm.`."""
    parent = start[: start.rfind(".") + 1]
    offers: Offers = {}
    for key in sorted(choices.keys):
        if key.startswith(start):
            head, deeper, _ = key.removeprefix(parent).partition(".")
            setting = choices.settings.get(key)
            meaning = f"settings of {parent}{head}" if deeper else ""
            offers.setdefault(
                f"{parent}{head}{'.' if deeper else '='}",
                meaning or (setting.meaning if setting else f"a {key}"),
            )
    return offers


def _values(key: str, typed: str, choices: "Choices") -> Offers:
    """Offer the values of a key; behind a comma, those that are not in the list yet."""
    if key == "plugins":
        return _python_files(typed)
    begun, comma, _ = typed.rpartition(",")
    used = set(begun.split(","))
    return {
        f"{key}={begun}{comma}{value}": meaning
        for value, meaning in _meanings(key, choices).items()
        if value not in used and (not comma or len(_meanings(key, choices)) > 1)
    }


def _meanings(key: str, choices: "Choices") -> Offers:
    """Return each value of a key with what it means."""
    from nnexp.settings.choices import explain_option

    if key in choices.groups:
        return {name: explain_option(file) for name, file in choices.groups[key].items()}
    if key.startswith(BLOCK):
        return _meanings("norm", choices)
    if key not in choices.settings:
        return {}
    setting = choices.settings[key]
    if setting.kind in (list, dict):
        return {}
    default = str(setting.default).lower() if setting.kind is bool else str(setting.default)
    values: Iterable[str] = setting.words or ([] if setting.default is None else [default])
    return {value: "the default" if value == default else "" for value in values}


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Offer the runs in `runs/`, the studies, and what else the shell finds as a path."""
    from nnexp.settings.choices import explain_option, read_choices

    word, shown = _current_word(incomplete)
    if "=" in word and not word.startswith("study="):  # bash breaks `--where norm=ba` in three
        return complete_condition(incomplete)
    studies = read_choices().groups.get("study", {})
    offers = {f"study={name}": explain_option(file) for name, file in studies.items()}
    offers |= {file.parent.name: "" for file in sorted(Path("runs").glob("*/config.yaml"))}
    offers |= dict.fromkeys(_paths(word) if word else [], "")
    return _beginning(offers, word, shown)


def complete_checked_study(incomplete: str) -> list[tuple[str, str]]:
    """Offer the studies whose files say what is expected."""
    from nnexp.cli.study_plan import PREFIX, checked_studies

    names = {name.removeprefix(PREFIX): plan for name, plan in checked_studies(None).items()}
    return [(name, plan.question) for name, plan in names.items() if name.startswith(incomplete)]


def complete_kind(incomplete: str) -> list[tuple[str, str]]:
    """Offer the kinds of figures."""
    from nnexp.figures import PLOTS

    return [(name, plot.summary) for name, plot in PLOTS.items() if name.startswith(incomplete)]


def complete_metric(incomplete: str) -> list[tuple[str, str]]:
    """Offer the metrics, behind a comma those that are not in the list yet."""
    from nnexp.compare import METRICS

    return _listed(incomplete, dict.fromkeys(METRICS, ""))


def complete_key(incomplete: str) -> list[tuple[str, str]]:
    """Offer the settings that tell runs apart, behind a comma those that are not listed yet."""
    return _listed(incomplete, _keys_of_runs())


def complete_condition(incomplete: str) -> list[tuple[str, str]]:
    """Offer `KEY=` and then its values, behind a comma those that are not in the list yet."""
    word, shown = _current_word(incomplete)
    key, has_value, typed = word.partition("=")
    offers = {f"{name}=": text for name, text in _keys_of_runs().items()}
    if has_value:
        offers = _values(key, typed, _every_choice())
    return _beginning(offers, word, shown)


def complete_baseline(incomplete: str) -> list[tuple[str, str]]:
    """Offer the norms, and the conditions that a baseline can be named by."""
    norms = {} if "=" in _current_word(incomplete)[0] else _meanings("norm", _every_choice())
    named = [(norm, text) for norm, text in norms.items() if norm.startswith(incomplete)]
    return [*named, *complete_condition(incomplete)]


def complete_order(incomplete: str) -> list[tuple[str, str]]:
    """Offer the settings and the metrics that rows can be sorted by."""
    return [*complete_key(incomplete), *complete_metric(incomplete)]


def _listed(incomplete: str, words: Offers) -> list[tuple[str, str]]:
    begun, comma, newest = incomplete.rpartition(",")
    used = set(begun.split(","))
    return [
        (f"{begun}{comma}{word}", text)
        for word, text in words.items()
        if word.startswith(newest) and word not in used
    ]


def _keys_of_runs() -> Offers:
    settings = _every_choice().settings
    return {key.removesuffix(".name"): one.meaning for key, one in settings.items()}


def _every_choice() -> "Choices":
    from nnexp.settings.choices import read_choices

    return read_choices()
