"""Sweeps by real processes: what becomes of runs that fail, meet, are stopped or killed."""

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from sweeping import (
    PATIENCE,
    TINY,
    assert_row_is_the_result,
    jobs_of,
    log_of,
    processes_with,
    rows_of,
    runs_of,
    start_sweep,
    statuses_of,
    sweep_command,
    swept,
    wait_until,
)

import nnexp
from nnexp import experiment
from nnexp.experiment.checkpoint import NEWEST
from nnexp.rundir import RunDir, is_locked, locked, read_json, read_status
from nnexp.settings.loader import CheckedLoader
from nnexp.sweeps import SweepObserver
from nnexp.sweeps.cluster_task import SweepTask
from nnexp.sweeps.jobs import read_status_of
from nnexp.sweeps.launcher import count_cpus
from nnexp.sweeps.worker import open_fork_server

LONG = ("data.train_images=600", "epochs=4")  # long enough to be stopped in the middle
ENDLESS = "epochs=1000"  # minutes
KILLER = """
import os
from pathlib import Path
from nnexp.experiment import LISTENERS, Listener

class Killer(Listener):
    def progress(self, progress):
        Path("{mark}").touch()
        os.kill(os.getpid(), {signum})

def build(config, folder):
    return Killer() if folder.name == "{name}" and not Path("{mark}").exists() else Listener()

LISTENERS["killer"] = build
"""
LOOKS = """
import sys
import traceback
from pathlib import Path
from nnexp.experiment import LISTENERS, Listener

SLOW = ["scipy", "torch._dynamo"]

def loaded():
    return [name for name in SLOW if name in sys.modules]

before = loaded()

class Spy:
    def find_spec(name, path, target=None):
        if name in SLOW:
            Path("importer").write_text("".join(traceback.format_stack()))

sys.meta_path.insert(0, Spy)

class Looks(Listener):
    def progress(self, progress):
        importer = Path("importer").read_text() if Path("importer").exists() else ""
        Path("seen").write_text(f"{before} {loaded()} {importer}")

LISTENERS["looks"] = lambda config, folder: Looks()
"""
ON_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""  # what is written to its input is typed there


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="module")
def _warm_server() -> None:
    open_fork_server()


def killed_once(run: RunDir, signum: int = signal.SIGKILL) -> tuple[str, str]:
    """Return the settings with which a run is killed at its first step, the first time."""
    mark = str(Path("killed").absolute())
    Path("killer.py").write_text(KILLER.format(name=run.path.name, mark=mark, signum=int(signum)))
    return "plugins=[killer.py]", "listeners=[killer]"


def spoil(run: RunDir) -> Path:
    """Put a file where the run's saved states should go, so that its first save raises."""
    run.path.mkdir(parents=True)
    run.checkpoint.write_text("in the way")
    return run.checkpoint


def assert_trained_once(run: RunDir) -> None:
    log = log_of(run)
    assert log.count("epoch 1:") == 1, log
    before, _, _ = log.rpartition(
        "started at epoch 0, step 0"
    )  # a try may end before its first step
    assert "epoch 1:" not in before, log
    assert "interrupted" not in before, log
    assert log_of(run).count("done after") == 1, log_of(run)


def assert_first_is_as_trained_alone(words: tuple[str, ...], folder: Path) -> None:
    """Compare the bytes of the first run with those of `nnexp train` that nobody stopped."""
    job = jobs_of(*words)[0]
    alone = experiment.run(replace(job.config, runs_dir=str(folder))).run
    for name in ("metrics.csv", "traces.csv", "checkpoint/weights.safetensors"):
        assert (job.run.path / name).read_bytes() == (alone.path / name).read_bytes()


def test_whatever_befalls_a_run_is_one_row_and_the_others_go_on(capsys):
    grid = ("norm=batch,none,group", "norm.num_groups=3", "optimizer.learning_rate=0.02,1e30")
    words = (*grid, "seed=0,1")
    done = runs_of("norm=batch,none", *grid[1:2], "optimizer.learning_rate=0.02", "seed=0,1")
    diverged = runs_of("norm=batch,none", *grid[1:2], "optimizer.learning_rate=1e30", "seed=0,1")
    cannot = runs_of("norm=group", *grid[1:], "seed=0,1")
    raises, killed = done.pop(0), done.pop(0)
    in_the_way = spoil(raises)
    words = (*words, *killed_once(killed))
    code, out, _ = swept(capsys, *words, "--jobs", "8")
    assert code == 1
    rows = rows_of("runs")
    assert rows.keys() == {run.path.name for run in [*done, *diverged, *cannot, raises, killed]}
    for run, status in [*((run, "done") for run in done), *((run, "diverged") for run in diverged)]:
        assert read_json(run.result)["status"] == status
        assert_row_is_the_result(run)
    why = {raises.path.name: "FileExistsError", killed.path.name: "killed by SIGKILL"}
    why |= {run.path.name: "norm.num_groups=3 does not divide the 8 channels" for run in cannot}
    told = out.rpartition("\nrun ")[2]  # the table of what did not end well
    for name, reason in why.items():
        assert rows[name]["status"] == "failed"
        assert reason in rows[name]["reason"]
        assert rows[name]["norm"] in name
        assert any(name in line and reason in line for line in told.splitlines())
    assert "Traceback" in log_of(raises)
    assert "12 runs: " in out
    for words_of_count in ("2 done", "4 diverged", "6 failed"):
        assert words_of_count in out

    before = Path("runs/results.csv").read_bytes()
    code, out, _ = swept(capsys, *words, "--jobs", "8")
    assert code == 1
    assert "0 to train" in out
    assert "--retry-failed" in out
    assert Path("runs/results.csv").read_bytes() == before

    in_the_way.unlink()
    code, out, _ = swept(capsys, *words, "--jobs", "8", "--retry-failed")
    assert code == 1  # the four that cannot work
    assert "6 to train" in out
    assert [read_status_of(run)[0] for run in (raises, killed)] == ["done", "done"]
    for run in (*done, raises, killed):
        assert_row_is_the_result(run)
        assert log_of(run).count("done after") == 1
    assert {row["status"] for row in rows_of("runs").values()} == {"done", "diverged", "failed"}


def test_run_that_crashes_has_a_row_and_is_tried_again_when_asked(capsys):
    (run,) = runs_of("epochs=2")
    words = ("epochs=2", *killed_once(run, signal.SIGSEGV))
    code, out, _ = swept(capsys, *words)
    assert code == 1
    assert rows_of("runs")[run.path.name]["reason"] == "killed by SIGSEGV"
    assert "1 run: 1 failed" in out
    assert "the same command with --retry-failed" in out
    code, out, _ = swept(capsys, *words)
    assert code == 1
    assert "0 to train" in out
    assert swept(capsys, *words, "--retry-failed")[0] == 0
    assert_row_is_the_result(run)


def test_log_that_is_a_symbolic_link_fails_its_run_alone_and_is_not_written(capsys):
    words = ("seed=0,1", "epochs=1")
    failed, done = runs_of(*words)
    failed.path.mkdir(parents=True)
    failed.log.symlink_to(Path("victim").absolute())
    code, out, err = swept(capsys, *words)
    assert code == 1
    assert "Traceback" not in out + err
    assert rows_of("runs")[failed.path.name]["reason"].startswith(
        f"{failed.log} is a symbolic link; remove it"
    )
    assert statuses_of(*words) == ["failed", "done"]
    assert_row_is_the_result(done)
    assert not Path("victim").exists()


def test_output_that_cannot_be_written_ends_no_run_of_a_sweep():
    words = ("seed=0,1", "epochs=1")
    with Path("/dev/full").open("w") as full:
        command = sweep_command(*words)
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert statuses_of(*words) == ["done", "done"]


def test_a_norm_that_cannot_work_in_a_model_is_a_failed_row_with_the_reason(capsys):
    words = ("model.name=convnext_tiny", "norm=layer,instance", "epochs=1")
    code, _, _ = swept(capsys, *words)
    assert code == 1
    rows = {row["norm"]: row for row in rows_of("runs").values()}
    assert (rows["layer"]["status"], rows["layer"]["reason"]) == ("done", "")
    assert rows["instance"]["status"] == "failed"
    assert rows["instance"]["reason"].startswith("norm=instance cannot work at head.norm")
    assert "use norm.at.head=batch, layer" in rows["instance"]["reason"]


def test_eight_runs_that_end_together_all_have_their_row(capsys):
    seeds = f"seed={','.join(str(seed) for seed in range(8))}"
    words = (seeds, "epochs=1", "trace.points=0")
    code, out, err = swept(capsys, *words, "--jobs", "8")
    assert (code, [line for line in err.splitlines() if "drawing" not in line]) == (0, [])
    assert rows_of("runs").keys() == {run.path.name for run in runs_of(*words)}
    for run in runs_of(*words):
        assert_row_is_the_result(run)
    lines = out.splitlines()
    assert lines[:2] == ["8 runs: 8 to train", "8 runs at a time, 1 thread each"]
    assert sum(line.startswith("start ") for line in lines) == 8  # a line per event when piped
    assert sum(line.startswith("done ") for line in lines) == 8
    assert not any("\x1b" in line for line in lines)


def test_divergence_is_a_result_and_no_failure(capsys):
    code, out, _ = swept(capsys, "optimizer.learning_rate=1e30", "norm=none")
    assert code == 0
    assert "1 run: 1 diverged" in out
    assert "at step " in out


def is_asked_to_stop(pid: int) -> bool:
    """Return whether a process that is frozen has a SIGTERM to come."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines)
    return bool(int(fields["ShdPnd"], 16) >> signal.SIGTERM - 1 & 1)


def freeze(run: RunDir) -> int:
    """Stop the process that trains a run, as soon as it has a state, and return it."""
    wait_until(run.checkpoint.exists)
    pid = int(is_locked(run).split()[1])
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_sweeps_that_meet_train_each_run_once_though_one_is_killed(capsys, tmp_path):
    words = (*LONG, "seed=0,1,2")
    folders = runs_of(*words)
    first = start_sweep(*words, "--jobs", "2")
    held = [freeze(run) for run in folders[:2]]

    def kill_first() -> None:
        wait_until(folders[2].status.exists)  # what is trained here meanwhile
        first.kill()
        for pid in held:
            os.kill(pid, signal.SIGCONT)

    killer = threading.Thread(target=kill_first)
    killer.start()
    code, out, _ = swept(capsys, *words, "--jobs", "2")
    killer.join()
    assert first.wait() == -signal.SIGKILL
    assert code == 0, out
    assert f"process {os.getpid()}" not in out
    assert out.count("wait ") >= 1  # for what the first one was training
    assert "3 runs: 3 done" in out
    assert rows_of("runs").keys() == {run.path.name for run in runs_of(*words)}
    for run in runs_of(*words):
        assert_trained_once(run)
        assert_row_is_the_result(run)
    assert_first_is_as_trained_alone(words, tmp_path / "alone")


def test_run_whose_sweep_was_killed_saves_its_state_and_brings_the_table_up_to_date(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("NNEXP_CACHE", str(tmp_path / "cache"))
    short, endless = runs_of(f"epochs=1,{ENDLESS.removeprefix('epochs=')}")
    sweep = start_sweep(f"epochs=1,{ENDLESS.removeprefix('epochs=')}", "--jobs", "1")
    wait_until(endless.checkpoint.exists)
    wait_until(Path("runs/results.csv").exists)
    Path("runs/results.csv").unlink()
    sweep.kill()
    sweep.wait()
    wait_until(lambda: not is_locked(endless))
    assert read_status_of(endless) == ("interrupted", "SIGTERM")
    assert "state saved" in log_of(endless)
    wait_until(lambda: not processes_with(str(tmp_path)))
    assert_row_is_the_result(short)


def test_ctrl_c_on_a_terminal_saves_every_run_and_leaves_no_process(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("NNEXP_CACHE", str(tmp_path / "cache"))
    words = (*LONG, "seed=0,1,2")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    command = [sys.executable, "-c", ON_A_TERMINAL, *sweep_command(*words), "--jobs", "2"]
    folders = runs_of(*words)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sweep:
        held = [freeze(run) for run in folders[:2]]
        os.write(sweep.stdin.fileno(), b"\x03")
        for pid in held:
            wait_until(lambda pid=pid: is_asked_to_stop(pid))
            os.kill(pid, signal.SIGCONT)
        seen, _ = sweep.communicate()
    assert sweep.returncode == 130
    wait_until(lambda: not processes_with(str(tmp_path)))
    text = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())  # without its colours
    assert "val acc" in text  # the live table
    assert "Traceback" not in text
    assert "stopping after SIGINT" in text
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l") == 1  # the cursor is back
    assert statuses_of(*words) == ["interrupted", "interrupted", "new"]
    assert [read_status_of(run)[1] for run in folders] == ["SIGINT", "SIGINT", ""]
    assert swept(capsys, *words)[0] == 0
    for run in runs_of(*words):
        assert_trained_once(run)
    assert_first_is_as_trained_alone(words, tmp_path / "alone")


def test_fail_fast_stops_the_others_with_their_states_saved(capsys):
    words = ("norm=batch,group,none", ENDLESS)
    endless, raises, last = runs_of(*words)
    in_the_way = spoil(raises)
    code, out, _ = swept(capsys, *words, "--jobs", "2", "--fail-fast")
    assert code == 1
    assert statuses_of(*words) == ["interrupted", "failed", "new"]
    assert f"stopping after {raises.path.name} failed" in out
    assert "state saved" in log_of(endless)
    assert not last.path.exists()
    in_the_way.unlink()


def test_run_that_takes_too_long_is_stopped_with_its_state_saved(capsys):
    (run,) = runs_of(ENDLESS)
    for seconds in ("2", "30", "300"):  # until the first step; more on a machine that is busy
        assert swept(capsys, ENDLESS, "--timeout", seconds, "--retry-failed")[0] == 1
        reason = f"timed out after {seconds} s"
        assert read_status(run) == {"status": "failed", "reason": reason}
        assert rows_of("runs")[run.path.name]["reason"] == reason
        if (run.checkpoint / NEWEST).exists():
            break
    assert "state saved" in log_of(run)
    assert (run.checkpoint / NEWEST).exists()


def test_rerun_trains_anew_what_is_finished(capsys):
    (run,) = runs_of("epochs=1")
    for again in ([], [], ["--rerun"]):
        code, out, _ = swept(capsys, "epochs=1", *again)
        assert code == 0
        if not again and "already" not in out:
            run.log.write_text("before\n" + log_of(run))
    assert "before" not in log_of(run)
    assert_trained_once(run)
    assert_row_is_the_result(run)


def test_rerun_deletes_nothing_while_one_of_the_runs_is_trained(capsys):
    first, second = runs_of("epochs=1", "seed=0,1")
    first.path.mkdir(parents=True)
    first.log.write_text("dear")
    with locked(second):
        code, _, err = swept(capsys, "epochs=1", "seed=0,1", "--rerun")
    assert code == 2
    assert f"{second.path} is being trained by process {os.getpid()}" in err
    assert log_of(first) == "dear"


def test_threads_of_a_run_do_not_depend_on_what_else_is_left(capsys):
    words = ("seed=0,1", "epochs=1", "threads=null")
    first, second = jobs_of(*words)
    experiment.run(replace(first.config, threads=1))
    assert swept(capsys, *words, "--jobs", "2")[0] == 0
    threads = read_json(second.run.environment)["threads"]
    assert threads == max(1, count_cpus() // 2)


def test_result_that_a_kill_kept_out_of_the_table_is_in_it_after_the_next_sweep(capsys):
    assert swept(capsys, "epochs=1")[0] == 0
    before = Path("runs/results.csv").read_bytes()
    Path("runs/results.csv").unlink()
    assert swept(capsys, "epochs=1")[0] == 0
    assert Path("runs/results.csv").read_bytes() == before


def test_dry_run_says_where_each_run_stands_and_what_the_whole_takes(capsys):
    (done,) = runs_of("seed=0")
    assert swept(capsys, "seed=0")[0] == 0
    (diverged,) = runs_of("seed=1")
    failed, new = runs_of("seed=2,3")
    diverged.path.mkdir()
    diverged.result.write_text('{"status": "diverged", "diverged_at_step": 7}')
    failed.path.mkdir()
    failed.status.write_text('{"status": "failed", "reason": "bad luck"}')
    before = sorted(Path("runs").rglob("*"))
    code, out, _ = swept(capsys, "seed=0,1,2,3", "--dry-run", "--jobs", "1")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    listed = {line[0]: line[1:] for line in lines[1:5]}
    assert listed[done.path.name] == ["done", "seed=0"]
    assert listed[diverged.path.name] == ["diverged", "seed=1"]
    assert listed[failed.path.name] == ["failed", "seed=2"]
    state, estimate, made_by = listed[new.path.name]
    assert (state, made_by) == ("new", "seed=3")
    minutes, seconds = estimate.split(":")
    assert int(minutes) * 60 + int(seconds) <= read_json(done.result)["seconds"]
    assert "4 runs: 1 done, 1 diverged, 1 failed, 1 new; 1 to train" in out
    assert f"about {estimate} with 1 run at a time" in out
    assert sorted(Path("runs").rglob("*")) == before


def test_dry_run_of_many_jobs_says_that_it_is_planning_them(capsys, monkeypatch):
    monkeypatch.setattr("nnexp.sweeps.display.MANY", 3)
    assert "planning" not in swept(capsys, "seed=0,1", "--dry-run")[2]
    assert "nnexp: planning 3 runs" in swept(capsys, "seed=0,1,2", "--dry-run")[2]


def test_images_that_one_run_cannot_have_fail_that_run_alone(capsys):
    words = ("data=synthetic,folder", "data.root=nowhere", "epochs=1")
    done, failed = runs_of(*words)
    code, out, _ = swept(capsys, *words)
    assert code == 1
    assert statuses_of(*words) == ["done", "failed"]
    assert_row_is_the_result(done)
    assert rows_of("runs")[failed.path.name]["reason"].startswith("data.root=nowhere is not a")
    assert f"nnexp logs {failed.path}" in out


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (["--jobs", "0"], "--jobs cannot be 0"),
        (["--timeout", "0"], "--timeout cannot be 0"),
        (["--timeout", "nan"], "--timeout cannot be"),
        (["hydra.launcher.jobs=abc"], "--jobs cannot be abc"),
        (["--jobs", "2", "hydra/launcher=basic"], "--jobs belongs to nnexp's own launcher"),
    ],
)
def test_option_that_cannot_be_is_answered_in_two_lines(option, problem, capsys, tmp_path):
    code, out, err = swept(capsys, *option)
    assert (code, out) == (2, "")
    assert err.startswith(f"nnexp: {problem}")
    assert len(err.splitlines()) == 2
    assert not list(tmp_path.glob("runs/*-*"))


def test_study_that_is_finished_ends_in_its_table_and_names_its_report(capsys):
    study = Path("configs/study/mine.yaml")
    study.parent.mkdir(parents=True)
    study.write_text(
        "# @package _global_\n# Does it work?\nstudy: mine\n"
        "hydra: {sweeper: {params: {norm: 'batch,none', seed: '0,1'}}}\n"
    )
    Path("configs/nnexp.yaml").touch()
    code, out, _ = swept(capsys, "study=mine", "epochs=1")
    assert code == 0
    assert "next:  nnexp report study=mine -o report.html" in out
    table = out[out.index("4 runs: 4 done") :]
    assert re.search(r"^batch .* \(2\)", table, re.MULTILINE)
    assert "differences to norm=batch" in table


class Heard(SweepObserver):
    def __init__(self) -> None:
        self.words: list[str] = []

    def planned(self, jobs, todo) -> None:
        self.words.append(f"{len(todo)} of {len(jobs)}")

    def ended(self, job, seconds) -> None:
        self.words.append(job.status)


def test_sweep_from_python_returns_its_jobs_and_prints_nothing(capsys):
    heard = Heard()
    words = (*TINY, "norm=batch,none", "epochs=1")
    outcome = nnexp.sweep(*words, observer=heard)
    assert outcome.complete
    assert outcome.signum is None
    assert [job.config.norm.name for job in outcome.jobs] == ["batch", "none"]
    assert heard.words == ["2 of 2", "done", "done"]
    assert repr(outcome) == "SweepOutcome(2 done)"
    assert nnexp.sweep(*words).complete
    assert capsys.readouterr() == ("", "")


def test_script_that_sweeps_is_not_run_again_in_the_processes_of_its_runs(monkeypatch):
    Path("script.py").write_text("raise SystemExit('run again')")  # without `if __name__ == …`
    script = ModuleType("__main__")
    script.__file__ = str(Path("script.py").absolute())
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert nnexp.sweep(*TINY, "epochs=1").complete
    assert sys.modules["__main__"] is script


def test_jobs_that_are_planned_are_not_composed_again(monkeypatch):
    composed = []
    compose = CheckedLoader.load_sweep_config

    def count(*args, **kwargs):
        composed.append(args)
        return compose(*args, **kwargs)

    monkeypatch.setattr(CheckedLoader, "load_sweep_config", count)
    for run in runs_of("seed=0,1"):
        run.path.mkdir(parents=True)
        run.result.write_text('{"status": "diverged", "diverged_at_step": 7}')
    assert nnexp.sweep(*TINY, "seed=0,1").complete
    assert composed == []


def test_process_of_a_run_imports_neither_scipy_nor_the_compiler():
    """In a process of its own: the server that forks the runs of this one may know other tests."""
    Path("looks.py").write_text(LOOKS)
    assert start_sweep("epochs=1", "plugins=[looks.py]", "listeners=[looks]").wait(PATIENCE) == 0
    assert Path("seen").read_text() == "[] [] "


def test_what_other_launchers_pickle_is_the_task_alone():
    task = pickle.loads(pickle.dumps(SweepTask(ledger="folder", jobs=jobs_of("seed=0"))))
    assert vars(task) == {"ledger": "folder"}


def test_a_sweep_outside_the_main_thread_is_refused_in_two_lines():
    with ThreadPoolExecutor(1) as threads:
        refused = threads.submit(nnexp.sweep, "norm=batch,none").exception()
    assert isinstance(refused, nnexp.ConfigError)
    assert "only the main thread" in refused.problem
    assert "call nnexp.sweep there" in refused.remedy
