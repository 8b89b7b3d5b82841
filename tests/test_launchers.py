"""The same sweep under Hydra's other launchers: nothing twice, and no death takes others along."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

import pytest
from processes import Starter
from sweeping import wait_until

from nnexp import experiment
from nnexp.cli.app import main
from nnexp.experiment.checkpoint import NEWEST
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.settings.compose import compose_jobs
from nnexp.settings.extras import EXTRAS, check_extra
from nnexp.sweeps.cluster_task import objective
from nnexp.sweeps.jobs import Job

LAUNCHERS = ["basic", "joblib", "submitit_local", "ray"]
TINY = [
    "model=baseline",
    "model.width=0.25",
    "data=synthetic",
    "data.train_images=120",
    "data.val_images=40",
    "data.test_images=40",
    "batch_size=16",
    "trace.points=0",
    "threads=1",
    "device=cpu",
]
PLUGIN = """
import os
import signal
from pathlib import Path

from nnexp.experiment import LISTENERS, Listener
from nnexp.norms import NORMS

NORMS["mine"] = NORMS["group"]


class FirstIsKilled(Listener):
    def progress(self, progress):
        if progress.step == 9:  # in the second epoch: the state after the first has been saved
            try:
                Path("{mark}").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


LISTENERS["first_is_killed"] = lambda config, folder: FirstIsKilled()
"""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # else its workers wait for everybody else there
    "RAY_AUTH_MODE": "token",  # the same on every node of a cluster
    "RAY_AUTH_TOKEN": uuid4().hex,
}


def need(group: str, option: str) -> None:
    """Skip the test where the package is not installed."""
    try:
        check_extra(group, option)
    except ConfigError as error:
        pytest.skip(f"{error.problem}: {error.remedy}")


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """Begin a sweep in a folder of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "nnexp", "sweep", *TINY, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )


def finish(sweep: subprocess.Popen[str]) -> tuple[int, str]:
    """Return a sweep's exit code and all that it said."""
    said, _ = sweep.communicate(timeout=900)
    return sweep.returncode, said


def first_pid(runs: Path) -> int:
    """Return the process that trains a run, once that has saved a state."""
    found: list[int] = []

    def look() -> list[int]:
        for path in runs.glob("*/status.json"):
            status = json.loads(path.read_text())
            if status["status"] == "running" and (path.parent / "checkpoint" / NEWEST).exists():
                found.append(status["pid"])
        return found

    wait_until(look)
    return found[0]


def files(runs: Path) -> dict[Path, int]:
    """Return when each run was last written to."""
    return {path: path.stat().st_mtime_ns for path in runs.glob("*/metrics.csv")}


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Ray cluster of two nodes on this machine, a processor each."""
    home = tmp_path_factory.mktemp("r")  # short: Ray's sockets lie below it
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
    ray += ["--object-store-memory=100000000", "--disable-usage-stats"]
    host = "--node-ip-address=127.0.0.1"
    head = [*ray, "--head", host, "--port=0", "--include-dashboard=false", f"--temp-dir={home}"]
    nodes: list[subprocess.Popen[bytes]] = []

    def start_node(command: list[str], pattern: str) -> str:
        log = home / f"node{len(nodes)}.txt"
        with log.open("wb") as file:
            own = {**os.environ, **ENVIRONMENT}
            nodes.append(subprocess.Popen(command, cwd=home, stdout=file, stderr=file, env=own))
        while nodes[-1].poll() is None:
            if found := re.search(pattern, log.read_text()):
                return found[found.lastindex or 0]
            time.sleep(0.1)
        assert len(nodes) < 5, log.read_text()  # on a busy machine 30 seconds are too few for Ray
        return start_node(command, pattern)

    try:
        address = start_node(head, r"--address='([^']+)'")
        start_node([*ray, host, f"--address={address}"], "Ray runtime started")
        yield address
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait(timeout=60)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_killed_run_is_a_row_the_others_go_on_and_the_same_command_completes_it(
    launcher: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    need("hydra/launcher", launcher)
    monkeypatch.chdir(tmp_path)
    words = ["norm=batch,mine", "epochs=3", f"hydra/launcher={launcher}"]
    words += ["plugins=[own.py]", "listeners=[first_is_killed]"]
    if launcher == "ray":
        words.append(f"hydra.launcher.ray.init.address={request.getfixturevalue('two_nodes')}")
    runs = tmp_path / "runs"
    Path("own.py").write_text(PLUGIN.format(mark=tmp_path / "killed"))

    def sweep() -> tuple[int, str]:
        if launcher == "basic":  # it starts a process for each run alone
            with pytest.raises(SystemExit) as end:
                main(["sweep", *TINY, *words])
            return int(end.value.code or 0), "".join(capsys.readouterr())
        nnexp: Starter = request.getfixturevalue("nnexp")
        done = nnexp("sweep", *TINY, *words, **ENVIRONMENT)
        return done.returncode, done.stdout + done.stderr

    code, said = sweep()
    assert code == 1, said
    assert "killed by SIGKILL" in said
    assert "Traceback" not in said
    states = [json.loads(path.read_text())["status"] for path in runs.glob("*/status.json")]
    assert sorted(states) == ["done", "failed"], said

    code, said = sweep()
    assert code == 0, said
    assert len((runs / "results.csv").read_text().splitlines()) == 3
    (resumed,) = [path for path in runs.glob("*/log.txt") if "resumed at" in path.read_text()]
    assert len((resumed.parent / "metrics.csv").read_text().splitlines()) == 4

    written = files(runs)
    code, said = sweep()
    assert code == 0, said
    assert files(runs) == written  # nothing is trained twice


def test_ray_begins_the_run_of_a_dead_worker_again_on_its_own(tmp_path: Path, two_nodes_or_skip):
    words = ["norm=batch,none", "epochs=40", "hydra/launcher=ray"]
    sweep = start(tmp_path, *words, f"hydra.launcher.ray.init.address={two_nodes_or_skip}")
    os.kill(parent_of(parent_of(first_pid(tmp_path / "runs"))), signal.SIGKILL)
    code, said = finish(sweep)
    assert code == 0, said
    logs = [path.read_text() for path in (tmp_path / "runs").glob("*/log.txt")]
    assert sum("resumed at" in log for log in logs) == 1


@pytest.fixture
def two_nodes_or_skip(request: pytest.FixtureRequest) -> str:
    """Give the cluster where Ray is installed."""
    need("hydra/launcher", "ray")
    return request.getfixturevalue("two_nodes")


def parent_of(pid: int) -> int:
    """Return the process that has started another: of a run its fork server, of that the worker."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("launcher", ["process", "joblib"])
def test_search_finds_the_best_rate_by_validation_accuracy_and_repeats_itself(
    launcher: str, tmp_path: Path
):
    need("hydra/sweeper", "optuna")
    need("hydra/launcher", launcher)
    words = ["epochs=2", "optimizer.learning_rate=tag(log,interval(1e-6,0.2))"]
    words += ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", f"hydra/launcher={launcher}"]

    code, said = finish(start(tmp_path, *words))
    assert code == 0, said
    runs = tmp_path / "runs"
    results = [json.loads(path.read_text()) for path in runs.glob("*/result.json")]
    assert len(results) == 3
    best = max(result["val_accuracy"] for result in results)
    rates = [one["optimizer.learning_rate"] for one in results if one["val_accuracy"] == best]
    assert any(f"optimizer.learning_rate={rate} " in said for rate in rates), said
    assert not list(runs.glob(".sweep-*"))

    written = files(runs)
    code, said = finish(start(tmp_path, *words))
    assert code == 0, said
    assert files(runs) == written


def test_objective_is_the_validation_accuracy_and_divergence_the_worst(tiny: ExperimentConfig):
    job = Job(words=[], config=tiny)
    assert math.isnan(objective(job))
    assert experiment.run(tiny).result["val_accuracy"] == objective(job)

    optimizer = replace(tiny.optimizer, learning_rate=1e6)
    hot = replace(tiny, optimizer=optimizer, norm=replace(tiny.norm, name="none"))
    assert experiment.run(hot).status == "diverged"
    assert objective(Job(words=[], config=hot)) == 0.0


@pytest.mark.parametrize(("group", "option"), EXTRAS)
def test_missing_extra_is_named_with_its_command(group: str, option: str):
    extra, package = EXTRAS[group, option]
    if is_installed(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ConfigError) as raised:
        compose_jobs([f"{group}={option}"])
    assert str(raised.value) == f"{group}={option} needs an extra\nuv sync --extra {extra}"


def is_installed(package: str) -> bool:
    """Return whether a distribution is there."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
