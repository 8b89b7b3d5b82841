"""The command line: parse, call one function, print what it returned."""

import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from nnexp.cli import (
    bench,
    compare,
    configs,
    data,
    diff,
    figure,
    logs,
    report,
    runs,
    show,
    sweep,
    traces,
    train,
    verify,
)
from nnexp.cli.messages import say_error, usage_problem
from nnexp.settings import ConfigError
from nnexp.settings.version import __version__

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Click's own, which Typer keeps to itself.
USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
TO_HYDRA = {"ignore_unknown_options": True}  # its flags are checked in nnexp/settings/overrides.py


def _say_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from nnexp.console import write

        write(f"nnexp {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Say which nnexp this is.", callback=_say_version, is_eager=True
    ),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; what the user can put right ends in two lines and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(words or ["--help"], prog_name="nnexp", standalone_mode=False) or 0
    except ConfigError as error:
        code = say_error(error)
    except typer.Abort:
        code = 130
    except USAGE_ERROR as error:
        code = say_error(usage_problem(error, words))
    sys.exit(code)


@app.callback(epilog="Example: nnexp train model=vgg16 norm=none data=synthetic scale=smoke")
def nnexp(version: Version = False) -> None:
    """What a normalization layer does to the training of a convolutional network."""


COMMANDS = (  # in the order of the help
    *(train, sweep, configs, show, data, traces, compare, figure, report, diff, verify),
    *(runs, logs, bench),
)
for module in COMMANDS:
    name = module.__name__.rpartition(".")[2]
    settings = TO_HYDRA if module in (train, sweep, verify) else {}
    add = app.command(name, context_settings=settings, epilog=f"Example: {module.EXAMPLE}")
    add(getattr(module, name))
