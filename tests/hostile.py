"""Run folders as a full disk, a power cut, an editor or an ill-willed stranger leave them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from nnexp.rundir.folder import RunDir

Damage = Callable[[RunDir], object]
DEEP = 100_000
ALIASES = "tags:\n- &a [x]\n" + "".join(
    f"- &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdef", "bcdefg", strict=True)
)  # a hundred lines would be more than the memory holds
REASONS = {
    "is a FIFO": "it is not a regular file",
    "is a folder": "it is not a regular file",
    "is /dev/zero": "it is not a regular file",
    "is deep": "it is nested too deeply",
    "is endless": "it is larger than",
    "is all NUL": "it holds NUL bytes",
    "is Latin-1": "it is not UTF-8 text",
    "has aliases": "it has an alias",
    "has no seed": "seed is empty",
    "leads nowhere": "there is none",
}


def result(**changes: object) -> Damage:
    """Change columns of the result."""

    def damage(run: RunDir) -> None:
        run.result.write_text(json.dumps(json.loads(run.result.read_text()) | changes))

    return damage


def content(name: str, text: str | bytes, *, finished: bool = True) -> Damage:
    """Give a file another content; an unfinished run has no result, and is read from its config."""

    def damage(run: RunDir) -> None:
        if not finished:
            run.result.unlink()
        (run.path / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return damage


def instead(name: str, make: Callable[[Path], object], *, finished: bool = True) -> Damage:
    """Put something else at the place of a file."""

    def damage(run: RunDir) -> None:
        if not finished:
            run.result.unlink()
        (run.path / name).unlink(missing_ok=True)
        make(run.path / name)

    return damage


def sparse(path: Path) -> None:
    """Make a file that is larger than any memory and takes no room."""
    path.touch()
    os.truncate(path, 2**40)


# Broken for every command: what the run's row is made of.
BROKEN: dict[str, Damage] = {
    "result is empty": content("result.json", ""),
    "result is torn": lambda run: os.truncate(run.result, 100),
    "result is all NUL": content("result.json", b"\0" * 512),
    "result is a list": content("result.json", "[1, 2]"),
    "result is deep": content("result.json", '{"a":' * DEEP),
    "result has deep lists": content("result.json", "[" * DEEP),
    "result is Latin-1": content("result.json", '{"status": "fertig für heute"}'.encode("latin-1")),
    "result has half a character": content("result.json", '{"status": "\\ud800"}'),
    "result has no status": content("result.json", "{}"),
    "result has a list as status": result(status=["done"]),
    "result has no seed": result(seed=None),
    "result has a text as seed": result(seed="0; rm"),
    "result has an endless seed": result(seed=10**400),
    "result has a list as norm": result(norm=["batch"]),
    "result has a number as run_id": result(run_id=5),
    "result has a text as epochs": result(epochs="three"),
    "result has a text as tags": result(tags="a"),
    "result has a deep norm.at": result(**{"norm.at": {"a": {"b": "c"}}}),
    "result has a NaN as rate": result(**{"optimizer.learning_rate": float("nan")}),
    "result is a FIFO": instead("result.json", os.mkfifo),
    "result is a folder": instead("result.json", Path.mkdir),
    "result is endless": instead("result.json", sparse),
    "result is /dev/zero": instead("result.json", lambda path: path.symlink_to("/dev/zero")),
    "result leads to itself": instead("result.json", lambda path: path.symlink_to(path.name)),
    "environment is a FIFO": instead("environment.json", os.mkfifo),
    "environment is torn": lambda run: os.truncate(run.environment, 20),
    "environment has a list as torch": content("environment.json", '{"torch": [1]}'),
    "config is deep": content("config.yaml", "[" * 1000, finished=False),
    "config has aliases": content("config.yaml", ALIASES, finished=False),
    "config is no mapping": content("config.yaml", "- a", finished=False),
    "config has a number as model": content("config.yaml", "model: 5", finished=False),
    "config has a list as runs_dir": content("config.yaml", "runs_dir: [a]", finished=False),
    "config has a wrong date": content("config.yaml", "study: 2024-99-99", finished=False),
    "config is a FIFO": instead("config.yaml", os.mkfifo, finished=False),
    "config leads nowhere": instead("config.yaml", lambda p: p.symlink_to("gone"), finished=False),
    "config is empty": content("config.yaml", "", finished=False),
    "status is a FIFO": instead("status.json", os.mkfifo, finished=False),
    "status is deep": content("status.json", "[" * DEEP, finished=False),
    "status has a list": content("status.json", '{"status": ["running"]}', finished=False),
}
# Broken for the commands that read the table.
TORN: dict[str, Damage] = {
    "metrics are empty": content("metrics.csv", ""),
    "metrics are torn": lambda run: os.truncate(run.metrics, 70),
    "metrics are ragged": content("metrics.csv", "epoch,train_loss\n1,2,3\n"),
    "metrics have a short row": content("metrics.csv", "epoch,train_loss\n1\n"),
    "metrics have NUL rows": lambda run: run.metrics.write_bytes(
        run.metrics.read_bytes() + b"\0" * 99 + b"\n"
    ),
    "metrics have words": content("metrics.csv", "epoch,train_loss\n1,low\n"),
    "metrics have no epoch": content("metrics.csv", "train_loss,val_loss\n1,1\n"),
    "metrics are a FIFO": instead("metrics.csv", os.mkfifo),
    "metrics are endless": instead("metrics.csv", sparse),
    "traces are empty": content("traces.csv", ""),
    "traces are torn": lambda run: os.truncate(run.traces, 200),
    "traces have a step that is none": content(
        "traces.csv", "step,layer,quantity,mean\nnan,a,running_mean,1\n"
    ),
    "traces are a picture": content("traces.csv", b"\x89PNG\r\n\x1a\n"),
    "traces are a FIFO": instead("traces.csv", os.mkfifo),
    "traces have one long quote": content("traces.csv", 'step,layer\n1,"' + "a" * 200_000),
}
# Odd, and to be read all the same.
ODD: dict[str, Damage] = {
    "running without a pid": content("status.json", '{"status": "running"}', finished=False),
    "running with pid -1": content(
        "status.json", '{"status": "running", "pid": -1}', finished=False
    ),
    "running with a text as pid": content(
        "status.json", '{"status": "running", "pid": "x"}', finished=False
    ),
    "no status": instead("status.json", lambda _: None, finished=False),
    "a reason that is a list": content(
        "status.json", '{"status": "failed", "reason": ["a"]}', finished=False
    ),
    "a NaN as accuracy": result(test_accuracy=float("nan")),
    "an endless loss": result(test_loss=10**400, val_loss=float("inf")),
    "a text as accuracy": result(test_accuracy="93.1%", steps="many"),
    "escape sequences": result(norm="\x1b]0;owned\x07\x1b[31mred\x1b[0m\u202eabc", study="[red]x"),
    "a dollar sign": result(norm="$\\frac{", run_id="$\\frac{"),
    "a nested column of its own": result(mine={"a": [1, {"b": 2}]}),
}
