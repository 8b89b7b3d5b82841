"""`nnexp verify`: trains a study with expectations, and says whether the runs agree with them."""

from typing import Annotated

import typer

from nnexp.cli import completion
from nnexp.cli import options as arguments
from nnexp.cli.composing import say_own_configs

EXAMPLE = "nnexp verify init data=synthetic scale=smoke"

StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]",
        help="A study whose file has checks; without one, all of them are listed.",
        autocompletion=completion.complete_checked_study,
    ),
]
NoTraining = Annotated[
    bool, typer.Option("--no-training", help="Judge the runs that are there, and train none.")
]


def verify(
    study: StudyName = None,
    overrides: arguments.Overrides = None,
    jobs: arguments.Jobs = None,
    no_training: NoTraining = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Train a study that says what is expected, and judge each expectation by its interval.

    Exits with 1 unless all of them agree.
    """
    from nnexp.cli.verify_page import list_checked, verify_study
    from nnexp.sweeps.runner import SweepOptions

    if study is None:
        list_checked(config_dir)
        return
    say_own_configs()
    words = [*(["--config-dir", config_dir] if config_dir else []), *(overrides or [])]
    options = None if no_training else SweepOptions(jobs=jobs)
    raise typer.Exit(verify_study(study, words, options, config_dir))
