import sys
from dataclasses import replace
from pathlib import Path

import pytest
from results import settings, write_epochs, write_run

from nnexp.cli.app import main
from nnexp.compare.diff import diff_runs
from nnexp.settings import NormConfig


def page(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["diff", *map(str, argv)])
    assert isinstance(end.value.code, int)
    return end.value.code, *capsys.readouterr()


def found(first, second) -> list[tuple[str, str, str, str]]:
    return [(one.part, one.name, one.first, one.second) for one in diff_runs(first, second)]


def test_equal_runs_differ_in_nothing_though_folder_time_and_command_do(tmp_path, capsys):
    runs = []
    for place, seconds in (("a", 1.0), ("b", 2.0)):
        config = settings(runs_dir=place)
        environment = {"started": f"at {seconds}", "command": place}
        run = write_run(tmp_path / place, config, 0.5, seconds=seconds, environment=environment)
        write_epochs(run, "1,8,2.0,0.5")
        runs.append(run)
    assert diff_runs(*runs) == []
    code, out, _ = page(capsys, *(run.path for run in runs))
    assert code == 0
    assert out.startswith("nothing differs")


def test_settings_results_and_environment_that_differ_are_listed_in_full(tmp_path):
    norm = NormConfig(name="group", num_groups=4)
    one = write_run(tmp_path, settings("batch"), 0.1 + 0.2)
    two = write_run(tmp_path, replace(settings(), norm=norm), 0.3, environment={"torch": "3"})
    assert found(one, two) == [
        ("settings", "norm", "batch", "group"),
        ("settings", "norm.num_groups", "null", "4"),
        ("results", "test_accuracy", "0.30000000000000004", "0.3"),
        ("environment", "torch", "2.15.0", "3"),
    ]


def test_first_unequal_epoch_is_named_where_settings_are_equal(tmp_path):
    one = write_run(tmp_path / "a", settings(threads=1), 0.5)
    two = write_run(tmp_path / "b", settings(threads=2), 0.5)
    write_epochs(one, "1,8,2.0,0.5", "2,16,1.5,0.6", "3,24,1.0,0.7")
    write_epochs(two, "1,8,2.0,0.5", "2,16,1.4,0.6", "3,24,0.9,0.8")
    assert found(one, two) == [
        ("settings", "threads", "1", "2"),
        ("epochs", "first in epoch 2: val_loss", "1.5", "1.4"),
    ]


def test_epochs_of_runs_with_other_settings_are_not_compared(tmp_path):
    one = write_run(tmp_path, settings(seed=0), 0.5)
    two = write_run(tmp_path, settings(seed=1), 0.5)
    write_epochs(one, "1,8,2.0,0.5")
    write_epochs(two, "1,8,1.0,0.6")
    assert found(one, two) == [("settings", "seed", "0", "1")]


def test_unfinished_run_differs_in_its_status_and_its_number_of_epochs(tmp_path):
    one = write_run(tmp_path / "a", settings(), 0.5)
    two = write_run(tmp_path / "b", settings(), status="interrupted")
    write_epochs(one, "1,8,2.0,0.5", "2,16,1.5,0.6")
    write_epochs(two, "1,8,2.0,0.5")
    differences = found(one, two)
    assert ("results", "status", "done", "interrupted") in differences
    assert ("epochs", "finished", "2", "1") in differences


def test_runs_are_named_by_folder_or_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    one = write_run(Path("runs"), settings("batch"), 0.5)
    two = write_run(Path("runs"), settings("none"), 0.5)
    code, out, _ = page(capsys, one.path.name, two.path)
    assert code == 0
    assert out.splitlines()[1].split() == ["settings", "norm", "batch", "none"]
    code, _, err = page(capsys, one.path.name, "nowhere")
    assert code == 2
    assert err.splitlines()[0] == "nnexp: no run at nowhere"


def test_terminal_gets_every_character_of_a_value(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    one = write_run(tmp_path, settings("batch"), 0.5, environment={"platform": "x" * 50 + "1"})
    two = write_run(tmp_path, settings("none"), 0.5, environment={"platform": "x" * 50 + "2"})
    _, out, _ = page(capsys, one.path, two.path)
    assert out.count("x") == 100
