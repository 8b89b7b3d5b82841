"""`nnexp data`: fetches, verifies and describes the images."""

from nnexp.cli import options as arguments
from nnexp.cli.composing import composed
from nnexp.settings import find_folder

EXAMPLE = "nnexp data data=folder data.root=photos"


def data(overrides: arguments.Overrides = None, config_dir: arguments.ConfigDir = None) -> None:
    """Download the images or read them from a folder, check them, and describe them."""
    config = composed(overrides, config_dir)
    if config.data.name == "folder":
        find_folder(config.data.root)  # before torch is imported, which takes seconds
    from rich.markup import escape
    from rich.table import Table

    from nnexp.cli.terminal import TerminalListener
    from nnexp.console import open_console, print_table
    from nnexp.data import load_images

    listener = TerminalListener()
    try:
        images = load_images(config.data, listener.loading)
    finally:
        listener.close()
    console = open_console()
    console.print(f"[bold]{images.name}[/] · {len(images.classes)} classes")
    table = Table("split", pad_edge=False)
    for heading in ("images", *map(escape, images.classes)):
        table.add_column(heading, justify="right")
    for name, split in images.splits.items():
        counts = split.labels.bincount(minlength=len(images.classes)).tolist()
        table.add_row(name, f"{len(split):,}", *(f"{count:,}" for count in counts))
    print_table(console, table)
    for name, values in (("mean", images.mean), ("std", images.std)):
        console.print(f"{name:<12} " + " ".join(f"{value:.4f}" for value in values))
    console.print(f"{'sha256':<12} {images.fingerprint[:16]}…")
    console.print(f"{'place':<12} {escape(images.place)}")
