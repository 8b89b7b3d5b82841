"""What `nnexp data` prints."""

from rich.markup import escape
from rich.table import Table

from nnexp.console import open_console, print_table
from nnexp.settings import ExperimentConfig


def data_page(config: ExperimentConfig) -> None:
    """Fetch, verify and describe the images."""
    from nnexp.cli.terminal import TerminalListener
    from nnexp.data import describe

    listener = TerminalListener()
    try:
        facts = describe(config.data, listener.loading)
    finally:
        listener.close()
    console = open_console()
    console.print(f"[bold]{facts['name']}[/] · {len(facts['classes'])} classes")
    table = Table("split", pad_edge=False)
    for heading in ("images", *map(escape, facts["classes"])):
        table.add_column(heading, justify="right")
    for split, counts in facts["per_class"].items():
        table.add_row(split, f"{facts['images'][split]:,}", *(f"{n:,}" for n in counts.values()))
    print_table(console, table)
    for name in ("mean", "std"):
        console.print(f"{name:<12} " + " ".join(f"{value:.4f}" for value in facts[name]))
    console.print(f"{'sha256':<12} {facts['fingerprint'][:16]}…")
    console.print(f"{'place':<12} {escape(str(facts['place']))}")
