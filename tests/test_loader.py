"""No config file makes Hydra run code, whichever command composes it."""

from pathlib import Path

import pytest

from nnexp.cli.app import main
from nnexp.settings import ConfigError
from nnexp.settings.compose import compose_config, compose_jobs, expand_jobs
from nnexp.settings.loader import TARGETS

TARGET = "{_target_: foreign.leave_a_trace}"
FACTORY = '{version: 1, root: {level: INFO}, formatters: {f: {"()": foreign.leave_a_trace}}}'
CALLBACK = f"callbacks: {{x: {TARGET}}}"
HYDRA_LOGGING = f"hydra_logging: {FACTORY}"
JOB_LOGGING = f"job_logging: {FACTORY}"
HANDLER = "{version: 1, root: {handlers: [h]}, handlers: {h: {class: %s}}}"
TINY = ["data=synthetic", "scale=smoke", "model=baseline", "epochs=1", "device=cpu"]
REFUSED = [  # what stands below `hydra` in a file, the key that is named
    (CALLBACK, "hydra.callbacks.x._target_"),
    ("callbacks: {x: {}}", "hydra.callbacks.x"),
    ("callbacks: '${oc.create:\"{x: {a: 1}}\"}'", "hydra.callbacks"),
    (HYDRA_LOGGING, "hydra.hydra_logging.formatters.f.()"),
    (JOB_LOGGING, "hydra.job_logging.formatters.f.()"),
    (f"job_logging: {HANDLER % 'foreign.leave_a_trace'}", "hydra.job_logging.handlers.h.class"),
    (f"job_logging: {HANDLER % 'logging.os.system'}", "hydra.job_logging.handlers.h.class"),
    (f"job_logging: {HANDLER % 'logging.handlers.QueueHandler'}", "handlers.h.class"),
    (
        f"job_logging: {HANDLER % 'logging.StreamHandler, stream: ext://foreign.x'}",
        "hydra.job_logging.handlers.h.stream",
    ),
    (
        f"job_logging: {HANDLER % 'logging.FileHandler, filename: /tmp/x'}",
        "hydra.job_logging.handlers.h.filename",
    ),
    ("job_logging: '${oc.decode:\"{version: 1}\"}'", "hydra.job_logging"),
    (f"launcher: {TARGET}", "hydra.launcher._target_"),
    (f"launcher: {{devices: [{TARGET}]}}", "hydra.launcher.devices.0._target_"),
    ("launcher: {_target_: '${oc.env:HOME}'}", "hydra.launcher._target_"),
    ("launcher: {devices: '${oc.create:\"[a]\"}'}", "hydra.launcher.devices"),
    ('launcher: {_target_: logging.os.system, _args_: ["true"]}', "hydra.launcher._target_"),
    (f"sweeper: {TARGET}", "hydra.sweeper._target_"),
    ("sweeper: {params: {+hydra.job.env_set.PATH: /tmp}}", "hydra.sweeper.params"),
    ("launcher: {setup: [echo]}", "hydra.launcher.setup.0"),
    ("launcher: {ray: {init: {runtime_env: {pip: [x]}}}}", "hydra.launcher.ray.init.runtime_env"),
    ("job: {env_set: {PATH: /tmp}}", "hydra.job.env_set.PATH"),
    ("job: {env_set: '${oc.create:\"{PATH: /tmp}\"}'}", "hydra.job.env_set"),
]


@pytest.fixture(autouse=True)
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put code where a config could reach it; give the file that running it leaves."""
    trace = tmp_path / "trace"
    touch = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    code = f"{touch}\ndef leave_a_trace(**words): {touch}\n"
    (tmp_path / "code/package").mkdir(parents=True)
    (tmp_path / "code/foreign.py").write_text(code)
    (tmp_path / "code/package/__init__.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.chdir(tmp_path)
    return trace


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def below_hydra(text: str) -> str:
    return f"# @package _global_\nhydra:\n  {text}\n"


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    return [line for line in capsys.readouterr().err.splitlines() if "goes before" not in line]


@pytest.mark.parametrize("text", [CALLBACK, HYDRA_LOGGING, JOB_LOGGING])
@pytest.mark.parametrize(
    "command",
    [
        "train",
        "train -m",
        "train --cfg job",
        "train --cfg hydra",
        "train --info",
        "train --info searchpath",
        "train hydra/launcher=basic -m",
        "sweep",
        "sweep -n",
        "show",
        "data",
        "bench",
    ],
)
def test_every_command_refuses_a_config_that_names_code_and_runs_none_of_it(
    command: str, text: str, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mine/paper/code.yaml", below_hydra(text))
    problem, remedy = said(capsys, *command.split(), "--config-dir", "mine", "+paper=code", *TINY)
    assert problem.startswith("nnexp: 'hydra.")
    assert problem.endswith("in a config could run code, and is refused")
    assert remedy.strip()
    assert not trace.exists()


@pytest.mark.parametrize(("text", "key"), REFUSED)
def test_what_could_run_code_is_refused_by_its_key(text: str, key: str, trace: Path) -> None:
    write("mine/paper/code.yaml", below_hydra(text))
    with pytest.raises(ConfigError) as refused:
        compose_config(["+paper=code"], "mine")
    assert key in refused.value.problem
    assert not trace.exists()


@pytest.mark.parametrize("file", ["configs/study/mine.yaml", "configs/model/vgg16.yaml"])
def test_own_configs_are_refused_like_any_other(file: str, trace: Path) -> None:
    write("configs/nnexp.yaml", "")
    write(file, below_hydra(CALLBACK))
    words = ["study=mine"] if "study" in file else ["model=vgg16"]
    for compose in (compose_config, compose_jobs, expand_jobs):
        with pytest.raises(ConfigError, match=r"hydra\.callbacks"):
            compose(words)
    assert not trace.exists()


def test_a_single_job_of_a_sweep_cannot_bring_code(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mine/paper/plain.yaml", "# @package _global_\nseed: 1\n")
    write("mine/paper/code.yaml", below_hydra(JOB_LOGGING))
    words = ["--config-dir", "mine", "+paper=plain,code", "hydra/launcher=basic", *TINY]
    problem, _ = said(capsys, "sweep", *words)
    assert "hydra.job_logging.formatters.f.()" in problem
    assert not trace.exists()


def test_hydras_own_help_runs_no_logging_of_own_configs(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("configs/nnexp.yaml", "")
    write("configs/hydra/hydra_logging/default.yaml", FACTORY)
    assert "hydra.hydra_logging" in said(capsys, "train", "--hydra-help")[0]
    assert not trace.exists()


def test_a_config_imports_no_package_to_search_it(trace: Path) -> None:
    write("configs/nnexp.yaml", "")
    write("configs/config.yaml", "hydra: {searchpath: ['pkg://package']}\n")
    with pytest.raises(ConfigError, match=r"hydra\.searchpath"):
        compose_config([])
    assert not trace.exists()


@pytest.mark.parametrize(
    "text", ["norm: {_target_: foreign.leave_a_trace}", "norm: {at: {_target_: batch}}"]
)
def test_no_own_setting_takes_a_target(text: str, trace: Path) -> None:
    write("mine/paper/code.yaml", f"# @package _global_\n{text}\n")
    with pytest.raises(ConfigError, match=r"norm\.(at\.)?_target_"):
        compose_config(["+paper=code"], "mine")
    assert not trace.exists()


def test_a_group_of_the_user_may_have_the_name_of_a_command() -> None:
    write("mine/setup/one.yaml", "# @package _global_\nseed: 1\n")
    assert compose_config(["+setup=one"], "mine").seed == 1


@pytest.mark.parametrize("group", ["hydra_logging", "job_logging"])
@pytest.mark.parametrize("option", ["default", "disabled", "none"])
def test_hydras_own_logging_can_be_chosen(group: str, option: str) -> None:
    assert compose_config([f"hydra/{group}={option}"]) == compose_config()


def test_values_of_the_launcher_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOBS", "2")
    write("mine/paper/jobs.yaml", below_hydra("launcher: {jobs: '${oc.env:JOBS}'}"))
    assert compose_config(["+paper=jobs"], "mine") == compose_config()


def test_variables_that_a_worker_shares_with_this_process_can_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write("mine/paper/env.yaml", below_hydra("job: {env_copy: [OMP_NUM_THREADS]}"))
    assert compose_config(["+paper=env"], "mine") == compose_config()


def test_every_launcher_and_sweeper_that_is_installed_is_known() -> None:
    from hydra.core.config_store import ConfigStore

    repo = ConfigStore.instance().repo["hydra"]
    for group in ("launcher", "sweeper"):
        for name, option in repo[group].items():
            if name.endswith(".yaml") and not name.startswith("ray_aws"):
                assert option.node._target_ in TARGETS
