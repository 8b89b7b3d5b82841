import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

import nnexp
from nnexp.cli.app import app, main
from nnexp.cli.train import exit_code
from nnexp.settings import ExperimentConfig, from_yaml, run_id
from nnexp.settings.compose import launch_jobs, register, run_hydra, to_config
from nnexp.settings.loader import CheckedLoader

COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]
BASIC = ["hydra/launcher=basic"]  # one run after another, in this process
OWN_NORM = "# my norm\nname: batch\neps: 0.001\n"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own_norm(tmp_path: Path) -> Path:
    """An unmarked `configs/` in the current folder, with a norm and another default batch norm."""
    folder = tmp_path / "configs"
    (folder / "norm").mkdir(parents=True)
    (folder / "norm/mine.yaml").write_text(OWN_NORM)
    (folder / "norm/batch.yaml").write_text("name: batch\nmomentum: 0.25\n")
    return folder


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(argv)
    code = end.value.code
    assert isinstance(code, int)
    return code, *capsys.readouterr()


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> ExperimentConfig:
    """Return the settings that `nnexp train --cfg job` prints."""
    code, out, _ = run(capsys, "train", "--cfg", "job", *argv)
    assert code == 0
    return from_yaml(out)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_help_has_an_example(
    command: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *command, flag)
    assert (code, err) == (0, "")
    assert "Example: nnexp " in out


def test_no_words_at_all_get_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[1] == run(capsys, "--help")[1]


def test_help_imports_nothing_slow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "nnexp", "-h"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "nnexp.cli.app" in modules
    assert not modules & {"torch", "torchvision", "pandas", "numpy", "matplotlib", "hydra", "yaml"}


def test_cfg_job_prints_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == ExperimentConfig()


@pytest.mark.parametrize(
    "argv",
    [
        ["--cfg", "job", "norm=none", "epochs=3"],
        ["norm=none", "--cfg", "job", "epochs=3"],
        ["norm=none", "epochs=3", "-c", "job"],
        ["norm=none", "epochs=3", "--cfg=job"],
    ],
)
def test_flags_stand_before_between_or_behind_the_settings(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "train", *argv)
    assert (code, err) == (0, "")
    assert (from_yaml(out).norm.name, from_yaml(out).epochs) == ("none", 3)


def test_the_norm_of_a_block_needs_no_plus(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "norm.at.conv3_1=layer").norm.at == {"conv3_1": "layer"}
    assert shown(capsys, "norm.at={a: layer, b: none}").norm.at == {"a": "layer", "b": "none"}


def test_hydras_own_flags_reach_hydra(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "train", "norm=group", "--cfg", "job", "--package", "norm")
    assert yaml.safe_load(out)["name"] == "group"
    _, out, _ = run(capsys, "train", "--cfg", "hydra")
    settings = yaml.safe_load(out)["hydra"]
    assert settings["job"]["chdir"] is False
    assert settings["output_subdir"] is None


def test_info_tells_where_configs_are_looked_for(tmp_path: Path) -> None:
    # a process of its own, because Hydra sets up logging for it
    command = [sys.executable, "-m", "nnexp", "train", "--info", "searchpath", "norm=none"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Config search path" in done.stdout


def test_resolve_shows_where_the_run_goes(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "train", "--cfg", "all", "--resolve", "seed=3")
    config = ExperimentConfig(seed=3)
    assert yaml.safe_load(out)["hydra"]["run"]["dir"] == f"runs/{run_id(config)}"


def test_a_folder_of_configs_can_be_named(
    own_norm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ("--config-dir", "-cd"):
        config = shown(capsys, flag, str(own_norm), "norm=mine")
        assert config.norm.eps == 0.001
    assert shown(capsys, "-cd", str(own_norm)).norm.momentum == 0.1  # adds, does not override


def test_configs_of_the_current_folder_need_a_marker(
    own_norm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "train", "--cfg", "job", "norm=mine")[0] == 2
    assert shown(capsys).norm.momentum == 0.1


def test_marked_configs_add_and_override_and_are_announced(
    own_norm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_norm / "nnexp.yaml").touch()
    code, out, err = run(capsys, "train", "--cfg", "job", "norm=mine")
    assert (code, from_yaml(out).norm.eps) == (0, 0.001)
    assert err == f"nnexp: {own_norm} goes before the packaged configs (it has a nnexp.yaml)\n"
    assert shown(capsys).norm.momentum == 0.25


def test_train_hands_one_checked_config_to_its_task(tmp_path: Path) -> None:
    seen: list[tuple[ExperimentConfig, list[str]]] = []

    def task(config: ExperimentConfig, overrides: list[str]) -> int:
        seen.append((config, overrides))
        return 7

    assert run_hydra(["norm=group", "seed=3"], task) == [7]
    ((config, overrides),) = seen
    assert (config.norm.name, config.seed) == ("group", 3)
    assert overrides == ["norm=group", "seed=3"]


def test_train_composes_hydras_configs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[object] = []

    class CountingLoader(CheckedLoader):
        def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
            composed.append(args)
            return super().load_configuration(*args, **kwargs)

    register()
    monkeypatch.setattr("hydra._internal.hydra.ConfigLoaderImpl", CountingLoader)
    assert run_hydra(["norm=group"], lambda *_: 0) == [0]
    assert len(composed) == 1


def test_a_sweep_runs_every_combination_in_order() -> None:
    seen: list[str] = []

    def task(composed: DictConfig) -> float:
        config = to_config(composed)
        seen.append(f"{config.norm.name}{config.norm.at}{config.batch_size}")
        return len(seen)

    words = [*BASIC, "norm=none,batch", "norm.at.a=layer,group", "batch_size=range(8,10)"]
    launch_jobs(words, task)
    assert seen == [
        f"{norm}{{'a': '{other}'}}{size}"
        for norm in ("none", "batch")
        for other in ("layer", "group")
        for size in (8, 9)
    ]


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_a_sweep_of_no_run_at_a_time_is_refused(
    jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "sweep", "--dry-run", f"--jobs={jobs}", "norm=batch")
    assert code == 2
    assert err.startswith(f"nnexp: --jobs cannot be {jobs}\n")


def test_a_dry_run_lists_the_runs_that_the_sweep_would_make(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["norm=none,batch", "seed=1", "norm.at.a=layer,group", "data=folder"]
    made: list[str] = []
    launch_jobs([*BASIC, *words], lambda composed: made.append(run_id(to_config(composed))) or 0.0)
    code, out, _ = run(capsys, "sweep", "-n", *words)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines[1:5]] == made
    assert lines[1][1:] == ["new", "norm=none", "++norm.at.a=layer"]
    assert "4 runs: 4 new; 4 to train" in out
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".yaml"]


@pytest.mark.parametrize("full_error", [None, "0"])
def test_hydra_leaves_no_trace_of_its_own(
    full_error: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    if full_error is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", full_error)
    handlers, words, environment = logging.root.handlers[:], sys.argv[:], dict(os.environ)
    folders: list[str] = []
    run_hydra(["seed=1"], lambda *_: folders.append(str(Path.cwd())) or 0)
    launch_jobs([*BASIC, "seed=2,3"], lambda _: folders.append(str(Path.cwd())) or 0.0)
    assert folders == [str(tmp_path)] * 3
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == ["multirun.yaml"]  # what its sweeper was asked
    assert len(list((tmp_path / "runs").iterdir())) == 4
    assert (logging.root.handlers, sys.argv, dict(os.environ)) == (handlers, words, environment)
    assert not GlobalHydra.instance().is_initialized()


def test_an_error_of_the_task_is_not_hydras() -> None:
    def task(config: ExperimentConfig, overrides: list[str]) -> int:
        raise ValueError(f"seed {config.seed} is unlucky")

    with pytest.raises(ValueError, match="seed 1 is unlucky"):
        run_hydra(["seed=1"], task)


@pytest.mark.parametrize(
    ("codes", "code"),
    [([], 0), ([0], 0), ([1], 1), ([2], 2), ([0, 0], 0), ([0, 2], 1), ([1, 0, 1], 1)],
)
def test_a_sweep_fails_with_one_and_a_run_with_its_own_code(codes: list[int], code: int) -> None:
    assert exit_code(codes) == code


def test_images_that_no_run_can_have_are_said_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [
        "data=folder",
        "data.root=nowhere",
        "device=cpu",
        "model=simple_cnn",
        "norm=batch,none",
    ]
    code, _, err = run(capsys, "sweep", *words)
    assert code == 2
    assert err.startswith("nnexp: data.root=nowhere is not a folder\n")
    assert len(err.splitlines()) == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["multirun.yaml"]
    assert run(capsys, "train", *words[:4]) == (2, "", err)


def test_configs_lists_every_group_and_setting(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "configs")
    lines = dict(line.partition("\t")[::2] for line in out.splitlines())
    assert code == 0
    assert lines["norm=batch"].endswith("(the default)")
    assert lines["batch_size=128"] == "images a step"
    assert all(lines.values())


def test_configs_explains_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "configs", "norm")
    assert "norm=group\tWu 2018" in out
    assert "norm.eps=1.0e-05\tinside the root, the same for every norm" in out
    assert "optimizer" not in out


def test_configs_shows_what_an_option_sets_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "configs", "model=convnext_tiny", "scale=full")
    typed = [line.partition("\t")[0] for line in out.splitlines()]
    assert {"model.stochastic_depth=0.1", "norm.name=layer", "epochs=200"} <= set(typed)
    assert "norm.eps=1.0e-05" not in typed


def test_configs_shows_the_users_own(own_norm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "configs", "norm=mine", "--config-dir", str(own_norm))
    assert "norm=mine\tmy norm" in out
    assert "norm.eps=0.001" in out


def test_configs_draws_a_table_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, _ = run(capsys, "configs", "trace")
    assert "what it is" in out.splitlines()[0]
    assert "\t" not in out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version")[1] == f"nnexp {nnexp.__version__}\n"


def test_config_name_finds_its_file_in_config_dir(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nepochs: 7\n")
    epochs: list[int] = []
    words = ["--config-dir", str(tmp_path), "--config-name", "mine", "data=synthetic"]
    run_hydra(words, lambda config, _: epochs.append(config.epochs) or 0)
    assert epochs == [7]


def test_dry_run_of_an_interval_says_that_its_runs_cannot_be_listed() -> None:
    command = [sys.executable, "-m", "nnexp", "sweep", "--dry-run", "norm.eps=interval(0.1,1)"]
    done = subprocess.run([*command, "data=synthetic"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "the runs of norm.eps=interval(0.1,1) cannot be listed" in done.stderr
