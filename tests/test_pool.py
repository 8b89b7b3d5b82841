"""How many runs at a time, where, with how many threads; and the processes themselves."""

import os
import signal
import time
from pathlib import Path

import pytest
from photos import make_photos
from results import settings
from sweeping import PATIENCE, jobs_of, log_of, rows_of, wait_until

from nnexp.data import load_images
from nnexp.rundir import read_status
from nnexp.sweeps.jobs import Job, read_status_of
from nnexp.sweeps.launcher import choose_slots, most_jobs, own_folder
from nnexp.sweeps.pool import Pool, PoolSettings
from nnexp.sweeps.worker import open_fork_server, settings_of_slot

LONG = ("data.train_images=600", "epochs=4")
ENDLESS = "epochs=100000"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Record:
    """Writes down what it is told; at each tick it does something."""

    def __init__(self, at_tick=lambda running: None) -> None:
        self.words: list[str] = []
        self.tick = at_tick

    def started(self, job: Job) -> None:
        self.words.append(f"started {job.config.seed}")

    def waits(self, job: Job) -> None:
        self.words.append(f"waits {job.config.seed}")

    def ended(self, job: Job, seconds: float) -> None:
        self.words.append(f"{job.status} {job.config.seed}")

    def stopping(self, reason: str, running: int) -> None:
        self.words.append(f"stopping {reason} {running}")


def train(jobs: list[Job], record: Record, *, fail_fast: bool = False) -> int | None:
    rules = PoolSettings(slots=[None] * 2, threads=1, timeout=PATIENCE, fail_fast=fail_fast)
    return Pool(open_fork_server(), rules, record, lambda job: ["nnexp"]).train(jobs)


def send_once(signum: int, pid_of):
    """Return what sends a signal once, as soon as two jobs have begun and the first has steps."""
    sent = []

    def tick(running: list[Job]) -> None:
        begun = [job for job in running if job.news.total_steps]
        if not sent and len(begun) == 2 and begun[0].news.step:
            sent.append(os.kill(pid_of(running), signum))

    return tick


def test_signal_to_the_sweep_asks_every_run_to_save_its_state():
    jobs = jobs_of(ENDLESS, "seed=0,1,2")
    record = Record(send_once(signal.SIGTERM, lambda _: os.getpid()))
    assert train(jobs, record) == signal.SIGTERM
    assert [job.status for job in jobs] == ["interrupted", "interrupted", "new"]
    assert record.words[2] == "stopping SIGTERM 2"
    for job in jobs[:2]:
        assert "state saved" in log_of(job.run)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_run_that_somebody_stops_alone_is_interrupted_and_the_others_go_on():
    jobs = [*jobs_of(ENDLESS), *jobs_of(*LONG, "seed=1")]
    first = jobs[0].run
    record = Record(send_once(signal.SIGTERM, lambda _: read_status(first)["pid"]))
    assert train(jobs, record) is None
    assert [job.status for job in jobs] == ["interrupted", "done"]
    assert "state saved" in log_of(first)
    assert first.path.name not in rows_of("runs")


@pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="under nohup nothing hears a SIGHUP"
)
def test_run_that_hangs_up_is_interrupted_and_has_no_row():
    jobs = [*jobs_of(ENDLESS), *jobs_of("epochs=1", "seed=1")]
    sent = []

    def hang_up(running: list[Job]) -> None:
        if not sent and jobs[0].news.step:
            sent.append(os.kill(read_status(jobs[0].run)["pid"], signal.SIGHUP))

    assert train(jobs, Record(hang_up)) is None
    assert [job.status for job in jobs] == ["interrupted", "done"]
    assert rows_of("runs").keys() == {jobs[1].name}


@pytest.mark.parametrize(
    ("signum", "reason"),
    [
        (signal.SIGSEGV, "killed by SIGSEGV"),
        (signal.SIGABRT, "killed by SIGABRT"),
        (signal.SIGKILL, "killed by SIGKILL (out of memory?)"),
        (signal.SIGRTMIN + 1, f"killed by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_any_other_signal_is_a_failure_with_its_name_that_stops_a_sweep_told_to(signum, reason):
    jobs = jobs_of(ENDLESS, "seed=0,1,2")
    first = jobs[0].run
    record = Record(send_once(signum, lambda _: read_status(first)["pid"]))
    assert train(jobs, record, fail_fast=True) is None
    assert [job.status for job in jobs] == ["failed", "interrupted", "new"]
    assert f"stopping {jobs[0].name} failed 1" in record.words
    assert read_status_of(first) == ("failed", reason)
    assert rows_of("runs")[jobs[0].name]["reason"] == reason
    assert "state saved" in log_of(jobs[1].run)


def test_run_that_crashes_while_it_is_asked_to_stop_has_failed():
    (job,) = jobs_of(ENDLESS)

    def crash(running: list[Job]) -> None:
        if record.words[-1] == "stopping SIGTERM 1":
            pid = read_status(job.run)["pid"]
            os.kill(pid, signal.SIGSEGV)
            os.kill(pid, signal.SIGCONT)
            record.tick = lambda running: None
        else:
            freeze(running)

    freeze = stuck(signal.SIGTERM)
    record = Record(crash)
    assert train([job], record) == signal.SIGTERM
    assert read_status_of(job.run) == ("failed", "killed by SIGSEGV")


def test_death_of_the_fork_server_costs_no_run():
    from multiprocessing import forkserver

    jobs = jobs_of(*LONG, "seed=0,1")
    server = forkserver._forkserver
    record = Record(send_once(signal.SIGKILL, lambda _: server._forkserver_pid))
    assert train(jobs, record) is None
    assert [job.status for job in jobs] == ["done", "done"]
    for job in jobs:
        assert log_of(job.run).count("started at epoch 0") == 1
        assert log_of(job.run).count("done after") == 1


def test_table_of_results_is_rebuilt_the_more_rarely_the_longer_it_takes(monkeypatch):
    monkeypatch.setattr("nnexp.sweeps.pool.VIEW_SHARE", 1e9)
    seen = set()
    view = Path("runs/results.csv")
    record = Record(lambda _: seen.add(len(rows_of("runs")) if view.exists() else 0))
    train(jobs_of("epochs=1", "seed=0,1,2,3,4"), record)
    assert seen <= {0, 1, 2}  # no more than had ended when it was built first
    assert len(seen) > 1
    assert len(rows_of("runs")) == 5


def test_run_that_another_sweep_has_seen_fail_is_not_tried_again(tmp_path):
    (job,) = jobs_of("epochs=1")
    job.run.path.mkdir(parents=True)
    job.run.status.write_text('{"status": "failed", "reason": "there"}')
    record = Record()
    train([job], record)
    assert record.words == ["failed 0"]
    train([job], record)  # it had failed before this pool began: it is tried again
    assert record.words[1:] == ["started 0", "done 0"]


def test_cache_that_is_damaged_while_a_sweep_runs_is_named_in_the_log(tmp_path):
    photos = make_photos(tmp_path / "photos")
    images = ("data.train_images=12", "data.val_images=6", "data.test_images=6")
    folders = (f"data.root={photos}", f"data.cache_dir={tmp_path / 'cache'}")
    (job,) = jobs_of("data=folder", *folders, *images, "epochs=1")
    stored = Path(load_images(job.config.data).place) / "train_images.npy"
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    train([job], Record())
    assert job.status == "done"
    assert f"{stored.parent} is damaged" in log_of(job.run)


def stuck(*signums: int):
    """Return what freezes a run after its first steps, then sends this process signals."""
    todo, frozen = list(signums), []
    until = time.monotonic() + PATIENCE

    def tick(running: list[Job]) -> None:
        assert time.monotonic() < until, "it still runs"
        if not frozen and running and running[0].news.step:
            frozen.append(os.kill(read_status(running[0].run)["pid"], signal.SIGSTOP))
        elif frozen and todo:
            os.kill(os.getpid(), todo.pop(0))

    return tick


def test_second_signal_ends_what_does_not_stop():
    jobs = jobs_of(ENDLESS)
    assert train(jobs, Record(stuck(signal.SIGINT, signal.SIGINT))) == signal.SIGINT
    assert [read_status_of(job.run) for job in jobs] == [("interrupted", "")]


def test_run_that_takes_too_long_and_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr("nnexp.sweeps.pool.GRACE", 0.2)
    (job,) = jobs_of(ENDLESS)
    rules = PoolSettings(slots=[None], threads=1, timeout=2)
    Pool(open_fork_server(), rules, Record(stuck()), lambda job: ["nnexp"]).train([job])
    assert read_status_of(job.run) == ("failed", "timed out after 2 s")


@pytest.mark.parametrize(
    ("num_jobs", "limit", "devices", "num_cuda", "slots"),
    [
        (9, 3, [], 0, [None, None, None]),
        (2, 3, [], 0, [None, None]),  # no more than there are jobs
        (9, None, [], 2, ["cuda:0", "cuda:1"]),  # a slot a device
        (9, 3, [], 2, ["cuda:0", "cuda:1", "cuda:0"]),
        (9, None, ["cuda:1"], 4, ["cuda:1"]),
        (1, None, ["cuda:1", "cuda:0"], 4, ["cuda:1"]),
        (9, None, ["cpu", "cpu", "cpu"], 0, ["cpu"] * 3),
    ],
)
def test_slots_are_the_devices_as_many_as_asked_for(num_jobs, limit, devices, num_cuda, slots):
    jobs = [Job(words=[], config=settings(seed=seed)) for seed in range(num_jobs)]
    assert choose_slots(jobs, limit, devices, num_cuda) == slots


def test_runs_that_name_the_cpu_leave_the_gpus_alone():
    jobs = [Job(words=[], config=settings(seed=seed, device="cpu")) for seed in range(99)]
    assert choose_slots(jobs, None, [], 8) == [None] * most_jobs()


def test_slot_decides_what_the_settings_leave_open():
    placed = settings_of_slot(settings(), "cuda:1", 3)
    assert (placed.device, placed.threads) == ("cuda:1", 3)
    named = settings_of_slot(settings(device="cpu", threads=2), "cuda:1", 3)
    assert (named.device, named.threads) == ("cpu", 2)
    assert settings_of_slot(settings(), None, None) == settings()


def test_command_of_a_run_names_the_folder_of_configs_that_it_needs():
    assert own_folder(["nnexp", "--config-dir", "mine", "norm=a"]) == ["--config-dir", "mine"]
    assert own_folder(["nnexp", "norm=a"]) == []


def test_child_that_is_gone_leaves_no_zombie():
    jobs = jobs_of("epochs=1", "seed=0,1")
    pids: set[int] = set()

    def tick(running: list[Job]) -> None:
        pids.update(read_status(job.run).get("pid", 0) for job in running)

    train(jobs, Record(tick))
    pids.discard(0)
    assert pids
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
    assert {read_status_of(job.run)[0] for job in jobs} == {"done"}
