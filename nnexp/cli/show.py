"""`nnexp show`: shows a model before training."""

from nnexp.cli import options as arguments
from nnexp.cli.composing import composed

EXAMPLE = "nnexp show model=resnet18 norm=group batch_size=8"


def show(overrides: arguments.Overrides = None, config_dir: arguments.ConfigDir = None) -> None:
    """Show a model before training: layers, parameters, and every norm site."""
    from nnexp.cli.show_page import show_page

    show_page(composed(overrides, config_dir))
