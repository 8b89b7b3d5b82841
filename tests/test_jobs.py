"""Where a run of a sweep stands, read from its folder."""

import json
from pathlib import Path

import pytest
from results import settings, write_run
from sweeping import jobs_of, rows_of

from nnexp.rundir import RunDir, locked, write_results_view
from nnexp.sweeps.jobs import Job, make_jobs, read_status_of, record_failure


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job_of(run: RunDir) -> Job:
    return Job(words=[], config=settings(runs_dir=str(run.path.parent)))


@pytest.mark.parametrize(
    ("status", "result", "stands"),
    [
        (None, None, ("new", "")),
        ({"status": "running", "pid": 1}, None, ("interrupted", "")),  # nobody holds it
        ({"status": "interrupted", "reason": "SIGTERM"}, None, ("interrupted", "SIGTERM")),
        ({"status": "failed", "reason": "no\nluck"}, None, ("failed", "no\nluck")),
        ({"status": "done"}, None, ("interrupted", "")),  # its result was lost
        ({"status": "running", "pid": 1}, {"status": "done"}, ("done", "")),
        (None, {"status": "diverged", "diverged_at_step": 7}, ("diverged", "at step 7")),
    ],
)
def test_where_a_run_stands_is_read_from_its_result_then_its_status(
    status, result, stands, tmp_path
):
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    for path, content in ((run.status, status), (run.result, result)):
        if content:
            path.write_text(json.dumps(content))
    assert read_status_of(run) == stands


def test_run_that_a_process_holds_is_running_whatever_its_status(tmp_path):
    run = RunDir(tmp_path / "run")
    with locked(run):
        run.status.write_text('{"status": "failed", "reason": "before"}')
        status, holder = read_status_of(run)
    assert status == "running"
    assert holder.startswith("process ")
    assert read_status_of(run)[0] == "failed"


def test_two_who_look_at_a_run_at_once_do_not_take_each_other_for_its_process(tmp_path):
    import fcntl

    run = RunDir(tmp_path / "run")
    with locked(run):
        run.status.write_text('{"status": "interrupted"}')
    with (run.path / ".lock").open("r+") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert read_status_of(run)[0] == "interrupted"


def test_what_failed_is_wanted_only_when_it_is_asked_for():
    wanted = {
        status: [
            Job(words=[], config=settings(), status=status).is_wanted(retry) for retry in (0, 1)
        ]
        for status in ("new", "running", "interrupted", "failed", "done", "diverged")
    }
    assert wanted == {
        "new": [True, True],
        "running": [True, True],
        "interrupted": [True, True],
        "failed": [False, True],
        "done": [False, False],
        "diverged": [False, False],
    }


def test_settings_that_meet_in_one_folder_are_one_run():
    assert len(jobs_of("trace.points=0,5", "threads=1,2")) == 1
    assert len(jobs_of("runs_dir=a,b")) == 2
    assert make_jobs([]) == []


def test_failure_is_recorded_as_a_row_with_its_settings():
    (job,) = jobs_of("seed=3")
    record_failure(job, "killed by SIGKILL")
    write_results_view(Path("runs"))
    row = rows_of("runs")[job.name]
    assert (row["status"], row["reason"]) == ("failed", "killed by SIGKILL")
    assert (row["seed"], row["model"]) == ("3", "baseline")
    assert read_status_of(job.run) == ("failed", "killed by SIGKILL")


def test_failure_is_recorded_though_the_log_cannot_be_written(tmp_path):
    (job,) = jobs_of("seed=3")
    job.run.path.mkdir(parents=True)
    job.run.log.symlink_to(tmp_path / "victim")
    record_failure(job, f"{job.run.log} is a symbolic link")
    write_results_view(Path("runs"))
    assert rows_of("runs")[job.name]["reason"] == f"{job.run.log} is a symbolic link"
    assert not (tmp_path / "victim").exists()


def test_failure_never_hides_a_result_nor_a_run_that_another_process_has_taken_up(tmp_path):
    run = write_run(tmp_path / "runs", settings(), 0.5)
    record_failure(job_of(run), "too late")
    assert json.loads(run.status.read_text()) == {"status": "done"}
    (other,) = jobs_of("seed=4")
    with locked(other.run):
        record_failure(other, "too late")
        assert not other.run.status.exists()
