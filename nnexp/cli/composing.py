"""From a command's words to settings."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnexp.settings import ExperimentConfig


def composed(overrides: list[str] | None, config_dir: str | None) -> "ExperimentConfig":
    """Return the settings that a command's words give; every command but a sweep reads them so."""
    from nnexp.settings.compose import compose_config

    say_own_configs()
    return compose_config(overrides or [], config_dir)


def say_own_configs() -> None:
    """Tell the user that configs of the current folder take part."""
    from nnexp.settings.choices import MARKER, own_configs

    if own := own_configs():
        from nnexp.console import forgiving_output, say

        with forgiving_output():
            say(f"{own} goes before the packaged configs (it has a {MARKER})")
