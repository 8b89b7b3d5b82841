"""Writes the parts of the site that come from the code: settings, commands, formulas."""

import json
import re
from functools import cache
from importlib.metadata import entry_points
from typing import Any

MARKUP = re.compile(r"\[/?(?:bold|dim|italic)?\]")
PYTHON_NAME = re.compile(r"<!-- python: (\w+) -->")
HEAD = [
    "| setting | default | values | what it decides | decides the result |",
    "|---|---|---|---|---|",
]
FORMULA = '<div class="formula">{}</div>'


def on_config(config: Any) -> Any:
    """Let fenced blocks called `math` be formulas, on the site as on GitHub."""
    fence = {"name": "math", "class": "math", "format": format_formula}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each marker of a page by the text that the code gives for it."""
    for marker, make_text in GENERATED.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make_text())
    return PYTHON_NAME.sub(lambda found: python_markdown(found[1]), markdown)


def format_formula(source: str, *_: Any, **__: Any) -> str:
    """Return a formula in TeX as MathML, which browsers draw without a script."""
    from latex2mathml.converter import convert

    return FORMULA.format(convert(source, display="block"))


@cache
def settings_markdown() -> str:
    """Return a table of the settings for each group: default, limits, what each decides."""
    from nnexp.settings import list_settings

    tables: dict[str, list[Any]] = {}
    for key, setting in list_settings().items():
        tables.setdefault(key.partition(".")[0] if "." in key else "", []).append(setting)
    return "\n\n".join(
        "\n".join([f"### {group or 'The rest'}", "", *HEAD, *map(_setting_row, settings)])
        for group, settings in tables.items()
    )


@cache
def commands_markdown() -> str:
    """Return a section for each command of the command line: usage, arguments, options, example."""
    from typer.main import get_command

    commands = get_command(_typer_app()).commands
    return "\n\n".join(_command_section(name, command) for name, command in commands.items())


def python_markdown(name: str) -> str:
    """Return the entry of one public name of the package, for mkdocstrings to fill in.

    The package imports its public names on demand, so the entry names the module they come from.
    """
    import nnexp

    public = getattr(nnexp, name, None)
    heading = f"### nnexp.{name} {{ #nnexp.{name} }}"
    if public is None:
        return heading
    place = f"::: {public.__module__}.{public.__qualname__}"
    return f"{heading}\n\n{place}\n    options:\n      show_root_heading: false"


def _setting_row(setting: Any) -> str:
    default = json.dumps(setting.default, ensure_ascii=False)
    cells = [
        f"`{setting.key}`",
        f"`{setting.default if isinstance(setting.default, str) else default}`",
        _setting_values(setting),
        setting.meaning,
        "yes" if setting.identity else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _setting_values(setting: Any) -> str:
    listed = " ".join(f"`{word}`" for word in setting.words)
    takes = listed or setting.needs().removeprefix("it needs ").removesuffix(", or null")
    return f"{takes}, or `null`" if setting.optional else takes


def _typer_app() -> Any:
    """Return the Typer application beside the function that the script `nnexp` calls."""
    (script,) = entry_points(group="console_scripts", name="nnexp")
    return script.load().__globals__["app"]


def _command_section(name: str, command: Any) -> str:
    arguments = [param for param in command.params if not param.opts[0].startswith("-")]
    options = [param for param in command.params if param not in arguments]
    usage = " ".join(["nnexp", name, "[OPTION]…", *map(_argument_word, arguments)])
    lines = [f"## {name}", "", command.help.strip(), "", f"`{usage}`", ""]
    lines += ["| argument or option | meaning |", "|---|---|"]
    for param in [*arguments, *options]:
        lines.append(f"| {_param_names(param)} | {_cell(param.help or '')} |")
    example = (command.epilog or "").removeprefix("Example: ")
    if example:
        lines += ["", "```sh", f"uv run {example}", "```"]
    return "\n".join(lines)


def _argument_word(param: Any) -> str:
    word = (param.metavar or param.name.upper()).removesuffix("...")
    many = "…" if param.nargs == -1 else ""
    return f"{word}{many}" if param.required else f"[{word}]{many}"


def _param_names(param: Any) -> str:
    if not param.opts[0].startswith("-"):
        return f"`{_argument_word(param)}`"
    value = "" if param.is_flag or param.count else f" {param.metavar or 'VALUE'}"
    return ", ".join(f"`{name}{value}`" for name in [*param.opts, *param.secondary_opts])


def _cell(text: str) -> str:
    """Return a help text of the terminal with its bold words as code, fit for a table's cell."""
    text = re.sub(r"\[bold\](.*?)\[/(?:bold)?\]", r"`\1`", text)
    return MARKUP.sub("", text).replace("|", "\\|").replace("\n", " ")


GENERATED = {
    "<!-- generated: settings -->": settings_markdown,
    "<!-- generated: commands -->": commands_markdown,
}
