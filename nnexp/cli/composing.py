"""From a command's words to settings, and to a question."""

from typing import TYPE_CHECKING, Any

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


def layout(rows: str | None, cols: str | None, where: list[str] | None) -> dict[str, Any]:
    """Return what `--rows`, `--cols` and `--where` ask for, as parts of a question."""
    return {
        "rows": rows.split(",") if rows else (),
        "columns": cols.split(",") if cols else (),
        "where": where or (),
    }
