"""`nnexp data`: fetches, verifies and describes the images."""

from nnexp.cli import options as arguments
from nnexp.cli.composing import composed
from nnexp.settings import find_folder

EXAMPLE = "nnexp data data=folder data.root=photos"


def data(overrides: arguments.Overrides = None, config_dir: arguments.ConfigDir = None) -> None:
    """Fetch, verify and describe the images."""
    config = composed(overrides, config_dir)
    if config.data.name == "folder":
        find_folder(config.data.root)
    from nnexp.cli.data_page import data_page

    data_page(config)
