"""What people share names no home folder and no host."""

import json
import shlex
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report_runs import write_full
from results import settings, write_run

from nnexp import experiment
from nnexp.cli.app import main
from nnexp.compare import read_rows
from nnexp.experiment.environment import describe_environment
from nnexp.rundir import read_json, write_results_view
from nnexp.settings import DataConfig, result_head
from nnexp.settings.sharing import shareable_command, shareable_folder, without_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder of our own, in whose `project` we are."""
    folder = tmp_path / "home" / "ada"
    (folder / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder / "project")
    return folder


def test_only_whole_names_of_the_home_folder_are_shortened(home):
    text = f"{home}/a {home} '{home}' {home}s /mnt{home} ({home}/b:{home}/c)"
    assert without_home(text) == f"~/a ~ '~' {home}s /mnt{home} (~/b:~/c)"


@pytest.mark.parametrize("home", ["", "/"])
def test_text_stays_where_there_is_no_home_folder(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    assert without_home("/a/b") == "/a/b"


def test_folder_inside_the_current_one_is_relative_to_it(home):
    assert shareable_folder(str(home / "project" / "runs")) == "runs"
    assert shareable_folder(str(home / "other")) == "~/other"
    assert shareable_folder("/data/runs") == "/data/runs"


def test_shared_command_gives_the_same_settings_when_it_is_typed_again(home, capsys):
    words = ["nnexp", "train", "--cfg", "job", "data=folder", f"data.root={home}/my photos"]
    command = shareable_command(words)
    assert str(home) not in command
    with pytest.raises(SystemExit) as end:
        main([word.replace("~/'", "~/") for word in shlex.split(command)[1:]])
    assert end.value.code == 0
    assert "root: ~/my photos" in capsys.readouterr().out


def test_run_tells_neither_home_nor_host_in_what_is_shared(tiny, home):
    config = replace(
        tiny, data=replace(tiny.data, cache_dir=f"{home}/cache"), runs_dir=f"{home}/project/runs"
    )
    command = ["nnexp", "train", f"data.cache_dir={home}/cache"]
    run = experiment.run(config, command=command).run
    shared = {path.name: path.read_text() for path in (run.environment, run.result, run.status)}
    shared["results.csv"] = write_results_view(run.path.parent).read_text()
    for name, text in shared.items():
        assert str(home) not in text, name
        assert socket.gethostname() not in text, name
    assert read_json(run.result)["runs_dir"] == "runs"
    assert read_json(run.result)["data.cache_dir"] == "~/cache"


def test_environment_names_no_host():
    record = describe_environment(torch.device("cpu"), ["nnexp"], "nhwc", "eager")
    assert socket.gethostname() not in json.dumps(record)


def test_row_of_a_run_that_failed_or_is_of_an_older_version_names_no_home(home):
    data = DataConfig(name="folder", root=f"{home}/photos")
    older = write_run(Path("runs"), settings("batch", data=data), 0.5)
    result = read_json(older.result) | {"data.root": f"{home}/photos"}
    older.result.write_text(json.dumps(result))
    reason = f"FileNotFoundError: {home}/photos/a.png"
    write_run(Path("runs"), settings("none", data=data), status="failed", reason=reason)
    view = write_results_view(Path("runs"))
    assert str(home) not in view.read_text()
    for row in read_rows(["runs"]):
        assert row["data.root"] == "~/photos"
        assert row["reason"] in (None, "FileNotFoundError: ~/photos/a.png")


def test_page_of_runs_names_no_home(home):
    run = write_full(home / "project" / "runs", "batch", 0.5)
    command = f"nnexp train data.root={home}/photos"
    run.environment.write_text(json.dumps(read_json(run.environment) | {"command": command}))
    with pytest.raises(SystemExit) as end:
        main(["report", str(home / "project" / "runs"), "-o", "page.html"])
    assert end.value.code == 0
    page = Path("page.html").read_text("utf-8")
    assert str(home) not in page
    assert "nnexp train data.root=~/photos" in page


def test_where_a_run_lies_does_not_change_its_identity(home):
    here, there = settings(), settings(runs_dir=f"{home}/project/runs")
    assert result_head(here, "")["run_id"] == result_head(there, "")["run_id"]
