import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from results import settings, write_epochs, write_run

from nnexp.cli.app import main
from nnexp.rundir import locked


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, list[str]]:
    """Return what `nnexp runs` says behind the name of each norm's run."""
    with pytest.raises(SystemExit) as end:
        main(["runs", *argv])
    out, err = capsys.readouterr()
    assert (end.value.code, err) == (0, "")
    lines = [line.strip().split(maxsplit=4) for line in out.splitlines()[1:] if line]
    return {name.split("-")[1]: more for name, *more in lines}


def test_every_run_is_listed_with_state_epochs_and_newest_accuracy(capsys):
    write_run(Path("runs"), settings("batch"), 0.5, val_accuracy=0.4321)
    write_run(Path("runs"), settings("none"), status="diverged", epochs_finished=1)
    write_run(Path("runs"), settings("group"), status="failed", reason="RuntimeError: no\nmore")
    run = write_run(Path("runs"), settings("layer", epochs=9), status="interrupted")
    write_epochs(run, "1,8,2.0,0.75", "2,16,1.9,0.5")
    assert listed(capsys) == {
        "batch": ["done", "3/3", "43.21"],
        "none": ["diverged", "1/3", "–", "at step 7"],
        "group": ["failed", "0/3", "–", "RuntimeError: no"],
        "layer": ["interrupted", "2/9", "50.00"],
    }


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_run_is_running_while_a_process_holds_it_whatever_process_the_status_names(capsys, host):
    host = socket.gethostname() if host == "here" else host
    held, left = (write_run(Path("runs"), settings(n), status="running") for n in ("batch", "none"))
    for run in (held, left):  # the process named is alive, as a later one with its number would be
        run.status.write_text(json.dumps({"status": "running", "pid": os.getpid(), "host": host}))
    with locked(held):
        states = listed(capsys)
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert states["batch"] == ["running", "0/3", "–", holder]
    assert states["none"] == ["interrupted", "0/3", "–"]


def test_line_that_is_still_being_written_is_not_read(capsys):
    run = write_run(Path("runs"), settings("batch"), status="interrupted")
    write_epochs(run, "1,8,2.0,0.25")
    with run.metrics.open("a") as file:
        file.write("2,16,1.9")
    assert listed(capsys)["batch"] == ["interrupted", "1/3", "25.00"]


def test_folder_without_runs_is_answered_with_what_would_do(capsys):
    with pytest.raises(SystemExit) as end:
        main(["runs"])
    assert end.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "nnexp: no runs at runs"
    assert "nnexp train makes a run" in second


def test_terminal_shows_the_whole_name_of_a_run(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    run = write_run(Path("runs"), settings("batch"), 0.5)
    with pytest.raises(SystemExit):
        main(["runs"])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert "".join(line.split()[0] for line in lines if line.strip()) == run.path.name


def test_watching_prints_once_where_nobody_looks(capsys):
    write_run(Path("runs"), settings("batch"), 0.5, val_accuracy=0.4321)
    assert listed(capsys, "--watch") == {"batch": ["done", "3/3", "43.21"]}


def test_logs_follow_a_run_until_it_ends(capsys):
    run = write_run(Path("runs"), settings("batch"), status="running")
    run.log.write_text("started\n")

    def go_on() -> None:
        with run.log.open("a") as log:
            log.write("epoch 1\n")
        run.status.write_text('{"status": "done"}')

    timer = threading.Timer(0.2, go_on)
    with locked(run):
        timer.start()
        with pytest.raises(SystemExit) as end:
            main(["logs", run.path.name, "--follow"])
        timer.join()
    assert (end.value.code, capsys.readouterr().out) == (0, "started\nepoch 1\n")


def test_log_of_a_run_that_has_said_nothing_is_answered_with_what_would_do(capsys):
    run = write_run(Path("runs"), settings("batch"), status="interrupted")
    with pytest.raises(SystemExit) as end:
        main(["logs", run.path.name])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"nnexp: {run.path} has no log.txt\n       the run has not begun; nnexp runs lists all\n"
    )
