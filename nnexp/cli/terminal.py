"""A run as its user sees it: what runs, how far it is, what came of it, what to type next."""

import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.table import Table

from nnexp.console import Console, counted, duration, forgiving_output, percent
from nnexp.experiment import Listener, RunInfo
from nnexp.experiment import Progress as RunProgress
from nnexp.experiment.signals import SIGNAL_EXIT
from nnexp.rundir import result_is_at_chance
from nnexp.settings import ExperimentConfig

REFRESH = 0.25  # seconds between two looks at the live numbers; each look may wait for the device
HEADINGS = (
    *("epoch", "learning rate", "train loss", "train acc %", "val loss", "val acc %", "images/s"),
)
RESULT = ["test_accuracy", "test_loss", "val_accuracy", "train_accuracy", "parameters", "seconds"]
ONE_NORM_ALONE = (
    *("norm=", "norm.name=", "norm.num_groups=", "norm.channels_per_group=", "init=fixup"),
)


def train_command(config: ExperimentConfig, argv: Sequence[str]) -> int:
    """Run one experiment, show it, and return the exit code of the command.

    The exit code says what became of the training, also where nothing could be printed.
    """
    from nnexp.experiment import run
    from nnexp.rundir import RunError

    with forgiving_output():
        listener = TerminalListener(argv)
        try:
            outcome = run(config, [listener], ["nnexp", "train", *argv])
        except RunError as error:
            listener.say_error(str(error))
            return 1
        except KeyboardInterrupt:
            listener.say_error("stopped at once; the steps since the last saved state are lost")
            return SIGNAL_EXIT + signal.SIGINT
        finally:
            listener.close()
    if outcome.signum is not None:
        return SIGNAL_EXIT + outcome.signum
    return 1 if outcome.status == "failed" else 0


class TerminalListener(Listener):
    """Results to standard output, messages to standard error; live only on a terminal."""

    def __init__(self, argv: Sequence[str] = ()) -> None:
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        self.argv = list(argv)
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._looked_at = 0.0
        self._run_info: RunInfo | None = None

    def loading(self, what: str, done: int, total: int) -> None:
        """Show a bar while images are fetched or decoded; one line when nobody watches."""
        if total == 0 or not self.err.is_terminal:
            if done == 0:
                self.err.print(escape(f"nnexp: {what}"))
            return
        if self._live is None:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
            self._live = Progress(*columns, MofNCompleteColumn(), console=self.err, transient=True)
            self._task = self._live.add_task(escape(what), total=total)
            self._live.start()
        assert self._task is not None
        self._live.update(self._task, description=escape(what), completed=done, total=total)
        if done >= total:
            self.close()

    def already_done(self, run: Path, result: dict[str, Any]) -> None:
        """Say that the run is there, and show its row."""
        self.out.print(f"[bold]{escape(str(run))}[/] is {result.get('status', 'done')} already")
        self._show_result(run, result)

    def started(self, info: RunInfo) -> None:
        """Say what runs, on what, and where it writes."""
        self.close()
        self._run_info = info
        config = info.config
        train, val, test = info.num_images
        threads = f", {info.threads} thread" + "s" * (info.threads > 1)
        threads = threads if info.device == "cpu" else ""
        steps = f"{info.total_steps:,} step" + "s" * (info.total_steps > 1)
        self.out.print(
            f"[bold]{config.model.name}[/] · norm [bold]{escape(describe_norm(config))}[/] · "
            f"batch size {config.batch_size} · seed {config.seed}\n"
            f"{info.parameters:,} parameters · {config.precision} on {info.device}{threads}\n"
            f"{config.data.name}: {train:,} training, {val:,} validation, {test:,} test images\n"
            f"{counted(info.epochs, 'epoch')}, {steps} · {config.optimizer.name} · "
            f"{describe_rate(config, info.peak_learning_rate)}\n"
            f"writes to [bold]{escape(str(info.run))}[/]"
        )
        if info.step:
            self.out.print(f"resumes after epoch {info.epoch}, step {info.step:,}")
        self.out.print(f"\n[dim]{_columns(HEADINGS)}[/]")
        self._start_live(info)

    def progress(self, progress: RunProgress) -> None:
        """Move the live line, a few times a second at most."""
        if self._live is None or time.monotonic() - self._looked_at < REFRESH:
            return
        self._looked_at = time.monotonic()
        loss, accuracy = progress.totals()
        speed = f"{progress.images_per_second:,.0f} images/s" if progress.images_per_second else ""
        left = f"{duration(progress.seconds_left)} left" if progress.seconds_left else ""
        assert self._task is not None
        assert self._run_info is not None
        self._live.update(
            self._task,
            completed=progress.step,
            description=f"epoch {progress.epoch + 1}/{self._run_info.epochs}",
            words=f"loss {loss:.3f} · acc {100 * accuracy:.1f} % · {speed} · {left}",
        )

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Print the epoch's line."""
        assert self._run_info is not None
        cells = (
            f"{row['epoch']}/{self._run_info.epochs}",
            f"{row['learning_rate']:.4g}",
            f"{row['train_loss']:.4f}",
            f"{100 * row['train_accuracy']:.2f}",
            f"{row['val_loss']:.4f}",
            f"{100 * row['val_accuracy']:.2f}",
            f"{images_per_second:,.0f}",
        )
        (self._live.console if self._live else self.out).print(_columns(cells))

    def note(self, text: str) -> None:
        """Say one line."""
        self.err.print(f"[yellow]nnexp:[/] {escape(text)}")

    def say_error(self, text: str) -> None:
        """Say what went wrong, in one line."""
        self.close()
        self.err.print(f"[bold red]nnexp:[/] {escape(text)}")

    def interrupted(self, run: Path, epoch: int, step: int) -> None:
        """Say that everything is saved, and how to go on."""
        self.close()
        self.err.print(f"\nstopped in epoch {epoch + 1} at step {step}; everything is saved")
        command = shlex.join(["nnexp", "train", *self.argv])
        self.err.print(f"resume with:  {escape(command)}")

    def failed(self, run: Path, reason: str) -> None:
        """Say why, and where the rest is."""
        self.say_error(f"the run failed: {reason}")
        self.err.print(f"       the traceback is in {escape(str(run / 'log.txt'))}")

    def finished(self, run: Path, result: dict[str, Any]) -> None:
        """Show the run's row and the next command worth typing."""
        self.close()
        self.out.print()
        self._show_result(run, result)

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _start_live(self, info: RunInfo) -> None:
        if not self.out.is_terminal:
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24))
        self._live = Progress(
            *columns, TextColumn("{task.fields[words]}"), console=self.out, transient=True
        )
        self._task = self._live.add_task(
            f"epoch {info.epoch + 1}/{info.epochs}",
            total=info.total_steps,
            completed=info.step,
            words="",
        )
        self._live.start()

    def _show_result(self, run: Path, result: dict[str, Any]) -> None:
        if result.get("status") == "diverged":
            self.out.print(
                f"[bold red]diverged[/]: the loss was not finite at step "
                f"{result['diverged_at_step']} of the run, "
                f"after {counted(result['epochs_finished'], 'epoch')}"
            )
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for name in RESULT:
            table.add_column(f"{name} %" if "accuracy" in name else name, justify="right")
        table.add_row(*(_metric(name, result.get(name)) for name in RESULT))
        self.out.print(table)
        if result_is_at_chance(result):
            self.out.print(
                "[yellow]at chance[/]: the test accuracy is no better than guessing a class "
                f"({percent(result['chance_accuracy'])})"
            )
        other = "none" if result.get("norm") == "batch" else "batch"
        kept = [word for word in self.argv if not word.lstrip("+").startswith(ONE_NORM_ALONE)]
        command = shlex.join(["nnexp", "train", *kept, f"norm={other}"])
        self.out.print(f"\n[dim]next:[/]  {escape(command)}")
        if len(list(run.parent.glob("*/result.json"))) > 1:
            folder = "" if str(run.parent) == "runs" else f" {shlex.quote(str(run.parent))}"
            self.out.print(f"       nnexp compare{escape(folder)} --rows norm")
        self.out.print(f"       nnexp traces {escape(shlex.quote(str(run)))}")


def describe_norm(config: ExperimentConfig) -> str:
    """Return the norm with what its statistics are over, and the blocks that have another one."""
    from nnexp.norms import NORMS

    kind = NORMS[config.norm.name]
    words = f"{config.norm.name} ({kind.axes})" if kind.statistic else config.norm.name
    swapped = ", ".join(f"{norm} in {block}" for block, norm in config.norm.at.items())
    return f"{words}; {swapped}" if swapped else words


def _columns(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, HEADINGS, strict=True))


def describe_rate(config: ExperimentConfig, peak: float) -> str:
    """Return the highest learning rate with the rule that made it, and how the rate moves."""
    rate, size = config.optimizer.learning_rate, config.batch_size
    ratio = {"linear": f"{size}/128", "sqrt": f"√({size}/128)"}.get(
        config.optimizer.learning_rate_scaling
    )
    scaled = f"{rate:g} × {ratio} = {peak:.4g}" if ratio and peak != rate else f"{rate:g}"
    warmup = f", warm-up {100 * config.schedule.warmup:g} %" if config.schedule.warmup else ""
    return f"peak learning rate {scaled}{warmup}, {config.schedule.name}"


def _metric(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if "accuracy" in name:
        return f"{100 * value:.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value < 10 else f"{value:,.1f}"
