import csv
import errno
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from full_disk import room_for
from scipy.special import bdtrc

from nnexp.rundir import (
    FINAL,
    STATUSES,
    RunDir,
    RunError,
    append_log,
    append_rows,
    empty_folder,
    is_at_chance,
    is_locked,
    locked,
    naming_full_disk,
    read_json,
    read_status,
    read_table,
    read_tables,
    records,
    replacing,
    restore_tables,
    result_is_at_chance,
    write_json,
    write_results_view,
    write_status,
)
from nnexp.settings import ConfigError


@dataclass(frozen=True, slots=True)
class Row:
    epoch: int
    loss: float


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    return RunDir(folder)


def test_written_floats_read_back_as_the_same_float32(run):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32) ** 9
    append_rows(run.metrics, [Row(1, float(value)) for value in values])
    read = np.array([row["loss"] for row in read_table(run.metrics)], dtype=np.float32)
    assert np.array_equal(read, values)


def test_header_is_written_once(run):
    append_rows(run.metrics, [Row(1, 0.5)])
    append_rows(run.metrics, [])
    append_rows(run.metrics, [Row(2, 0.25)])
    assert run.metrics.read_text() == "epoch,loss\n1,0.5\n2,0.25\n"


def test_restoring_drops_what_was_written_after(run):
    append_rows(run.metrics, [Row(1, 0.5)])
    held = read_tables(run)
    append_rows(run.metrics, [Row(2, 0.25)])
    append_rows(run.traces, [Row(2, 0.25)])
    assert restore_tables(run, held) == []
    assert run.metrics.read_text() == "epoch,loss\n1,0.5\n"
    assert not run.traces.exists()


@pytest.mark.parametrize("damage", ["torn", "edited", "gone"])
def test_table_that_lost_or_changed_rows_is_named_and_put_back(run, damage):
    append_rows(run.metrics, [Row(1, 0.5), Row(2, 0.25)])
    held, whole = read_tables(run), run.metrics.read_text()
    if damage == "gone":
        run.metrics.unlink()
    else:
        run.metrics.write_text(whole[:-3] if damage == "torn" else whole.replace("0.5", "0.6"))
    assert restore_tables(run, held) == [run.metrics]
    assert run.metrics.read_text() == whole


def test_failed_replacement_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as scratch:
            scratch.write_text("ne")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_run_is_running_only_while_a_process_holds_it(run):
    with locked(run):
        write_status(run, "running")
        assert read_status(run)["status"] == "running"
    assert read_status(run)["status"] == "interrupted"  # its process lives on, and may be anybody's


def test_what_killed_processes_left_is_removed_when_the_run_is_next_opened_for_writing(run):
    run.checkpoint.mkdir()
    left = [run.path / ".config.yaml.123.tmp", run.checkpoint / ".state.safetensors.7.tmp"]
    kept = [run.path / "notes.tmp", run.path / ".notes.tmp"]
    for path in (*left, *kept):
        path.write_text("half")
    with locked(run):
        assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_scratch_file_of_the_view_is_removed_and_no_other(run):
    runs = run.path.parent
    for name in (".results.csv.123.tmp", ".report.html.123.tmp"):
        (runs / name).write_text("half")
    write_results_view(runs)
    assert [path.name for path in runs.glob(".*.tmp")] == [".report.html.123.tmp"]


def test_folder_that_nobody_holds_names_no_host(run):
    with locked(run):
        write_status(run, "running")
        assert socket.gethostname() in (run.path / ".lock").read_text()
        write_status(run, "done")
    held = [path.read_text() for path in run.path.iterdir()]
    assert not any(socket.gethostname() in text for text in held)


@pytest.mark.parametrize("saved", [False, True])
def test_saved_state_is_said_to_be_intact_only_where_there_is_one(run, saved):
    if saved:
        run.checkpoint.mkdir()
        (run.checkpoint / "state.safetensors").write_text("state")
    with pytest.raises(RunError, match="the disk is full") as error, naming_full_disk(run):
        raise OSError(errno.ENOSPC, "no space")
    assert ("the last saved state is intact" in str(error.value)) == saved


def test_second_process_is_kept_out_and_told_who_is_in(run):
    with (
        locked(run),
        pytest.raises(RunError, match=f"is being trained by process {os.getpid()}"),
        locked(run),
    ):
        pass
    with locked(run):
        pass


def test_process_that_is_kept_out_leaves_the_folder_of_the_one_that_is_in(run):
    with locked(run):
        with pytest.raises(RunError), locked(run):
            pass
        assert (run.path / ".lock").exists()
    assert not run.path.exists()  # nothing was written: the holder takes it away


def test_lock_is_that_of_the_folder_that_is_there(run, monkeypatch):
    """The folder is removed between opening and locking: the lock must be taken anew."""
    import fcntl

    real, calls = fcntl.flock, []

    def removed_first(handle, how):
        if not calls:
            (run.path / ".lock").unlink()
            run.path.rmdir()
        calls.append(handle)
        real(handle, how)

    monkeypatch.setattr("nnexp.rundir.lock.fcntl.flock", removed_first)
    with locked(run):
        assert len(calls) == 2
        assert (run.path / ".lock").stat().st_ino == os.fstat(calls[-1]).st_ino


def test_lock_that_is_a_symbolic_link_is_refused_and_its_target_left_alone(run, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("dear")
    (run.path / ".lock").symlink_to(victim)
    with pytest.raises(ConfigError) as refused, locked(run):
        pass
    assert refused.value.problem == f"{run.path / '.lock'} is a symbolic link"
    assert refused.value.remedy
    assert is_locked(run) == ""
    assert victim.read_text() == "dear"


@pytest.mark.parametrize("target", ["victim", "not there"])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a/log.txt", lambda run: append_log(run, "words")),
        ("a/metrics.csv", lambda run: append_rows(run.metrics, [Row(1, 0.5)])),
        (".results.lock", lambda run: write_results_view(run.path.parent)),
    ],
)
def test_file_that_is_a_symbolic_link_is_named_and_not_written_through(run, name, write, target):
    victim = run.path / "victim"
    victim.write_text("dear")
    link = run.path.parent / name
    link.symlink_to(run.path / target)
    with pytest.raises(ConfigError) as refused:
        write(run)
    assert refused.value.problem == f"{link} is a symbolic link"
    assert victim.read_text() == "dear"
    assert not (run.path / "not there").exists()


def test_scratch_file_that_is_a_symbolic_link_is_not_written_through(run):
    victim = run.path / "victim"
    victim.write_text("dear")
    run.path.joinpath(f".status.json.{os.getpid()}.tmp").symlink_to(victim)
    write_status(run, "running")
    assert victim.read_text() == "dear"
    assert read_json(run.status)["status"] == "running"
    assert not run.status.is_symlink()


def test_emptied_folder_loses_a_symbolic_link_and_not_what_it_points_to(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("dear")
    run.checkpoint.symlink_to(elsewhere)
    empty_folder(run)
    assert not run.checkpoint.is_symlink()
    assert (elsewhere / "file").read_text() == "dear"


def test_lock_that_a_full_disk_refuses_is_two_lines_and_held_by_nobody(run):
    with room_for(0), pytest.raises(ConfigError, match="cannot be written") as refused, locked(run):
        pass
    assert "make room" in refused.value.remedy
    with locked(run):
        assert is_locked(run)


@pytest.mark.parametrize("in_the_way", ["a file", "a folder", "a looping link"])
def test_lock_that_cannot_be_made_is_two_lines(run, in_the_way):
    lock = run.path / ".lock"
    if in_the_way == "a file":
        run.path.rmdir()
        run.path.write_text("")
    elif in_the_way == "a folder":
        lock.mkdir()
    else:
        run.path.rmdir()
        run.path.symlink_to(run.path)
    with pytest.raises(ConfigError) as refused, locked(run):
        pass
    assert str(run.path) in refused.value.problem
    assert refused.value.remedy


def test_folder_that_vanishes_before_its_lock_is_made_is_made_again(run, monkeypatch):
    real, calls = os.open, []

    def removed_first(path, *more, **named):
        if str(path).endswith(".lock") and not calls:
            calls.append(path)
            run.path.rmdir()
        return real(path, *more, **named)

    monkeypatch.setattr("nnexp.rundir.files.os.open", removed_first)
    with locked(run):
        assert calls
        assert (run.path / ".lock").exists()


FIRST_WRITER = """
import sys
from pathlib import Path
from nnexp.rundir import write_results_view

def wait(event, arguments):
    if event == "open" and Path(str(arguments[0])).name.startswith(".results.csv."):
        print("has read the runs", flush=True)
        sys.stdin.readline()

sys.addaudithook(wait)
write_results_view(Path(sys.argv[1]))
"""
SECOND_WRITER = """
import sys
from pathlib import Path
from nnexp.rundir import write_results_view

sys.addaudithook(lambda event, _: event == "fcntl.flock" and print("waits", flush=True))
write_results_view(Path(sys.argv[1]))
print("has written", flush=True)
"""


def test_run_that_ends_while_the_results_are_written_is_not_lost_from_them(tmp_path):
    def write(name: str) -> None:
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "result.json", {"run_id": name, "status": "done"})

    def start(script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(tmp_path)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    write("a")
    with start(FIRST_WRITER) as first:
        assert first.stdout.readline() == "has read the runs\n"
        write("b")
        with start(SECOND_WRITER) as second:
            said = second.stdout.readline()  # the second one waits, or it would have written
            first.communicate("\n")
            assert second.communicate()[0] == "has written\n"
    assert said == "waits\n"
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["run_id"] for row in csv.DictReader(file)] == ["a", "b"]


def test_result_holds_no_number_that_json_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "result.json", {"test_loss": float("nan")})


def test_results_view_holds_one_row_per_result_and_is_rebuilt_whole(tmp_path):
    for name, more in (
        ("a", {"test_accuracy": 0.5}),
        ("b", {"diverged_at_step": 3, "tags": ["x"]}),
    ):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "result.json", {"run_id": name, "status": "done", **more})
    (tmp_path / "c").mkdir()
    write_results_view(tmp_path)
    view = write_results_view(tmp_path)
    with view.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run_id"] for row in rows] == ["a", "b"]
    assert rows[0]["test_accuracy"] == "0.5"
    assert rows[0]["diverged_at_step"] == ""
    assert json.loads(rows[1]["tags"]) == ["x"]


@pytest.mark.parametrize(
    ("accuracy", "num_images", "num_classes", "at_chance"),
    [
        (0.1, 10_000, 10, True),
        (0.05, 10_000, 10, True),  # worse than guessing is not better
        (0.15, 10_000, 10, False),
        (0.15, 40, 10, True),  # six of forty right: one guesser in five has as many
        (0.3, 40, 10, False),
        (0.5, 1000, 2, True),
        (0.5, 1000, 3, False),
        (1.0, 1, 10, True),  # one image shows nothing
    ],
)
def test_accuracy_that_guessing_explains_is_at_chance(accuracy, num_images, num_classes, at_chance):
    assert is_at_chance(accuracy, num_images, num_classes) is at_chance


@pytest.mark.parametrize("num_images", [1, 7, 40, 1000, 10_000])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_every_number_of_right_answers_is_judged_as_scipys_binomial_tail_does(
    num_images, num_classes
):
    every = max(1, num_images // 500)
    for correct in range(0, num_images + 1, every):
        tail = bdtrc(correct - 1, num_images, 1 / num_classes) if correct else 1.0
        assert is_at_chance(correct / num_images, num_images, num_classes) == (tail > 0.01)
        if correct * num_classes > num_images and tail > 1e-300:
            mine = records._at_least(correct, num_images, 1 / num_classes)
            assert mine == pytest.approx(tail, rel=1e-9)


def test_a_result_is_at_chance_only_where_its_test_images_are_known():
    guess = {"test_accuracy": 0.1, "chance_accuracy": 0.1}
    assert result_is_at_chance({**guess, "test_images": 50})
    assert not result_is_at_chance({**guess, "test_images": 50, "test_accuracy": 0.5})
    for lacking in ("test_accuracy", "chance_accuracy", "test_images"):
        assert not result_is_at_chance({**guess, "test_images": 50, lacking: None})


def test_statuses_that_are_final_are_those_of_a_result():
    assert {"done", "diverged"} == FINAL
    assert len({status.colour for status in STATUSES.values()}) == len(STATUSES)
