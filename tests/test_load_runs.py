import csv
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from results import BATCH, LAYER, compared, settings, write_run, write_seeds

from nnexp.compare import load_runs, read_rows
from nnexp.rundir import read_json, write_results_view
from nnexp.settings import DataConfig, NormConfig


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_run_is_a_row_with_its_settings_whatever_became_of_it():
    write_run(Path("runs"), settings("batch"), 0.5)
    write_run(Path("runs"), settings("none"), status="diverged")
    write_run(Path("runs"), settings("group", batch_size=8), status="failed", reason="boom")
    table = load_runs().set_index("norm")
    assert dict(table["status"]) == {"batch": "done", "none": "diverged", "group": "failed"}
    assert table.loc["group", "batch_size"] == 8
    assert table.loc["group", "reason"] == "boom"
    assert table.loc["batch", "test_accuracy"] == 0.5
    assert math.isnan(table.loc["group", "test_accuracy"])
    assert set(table["environment.torch"]) == {"2.15.0"}


def test_run_of_a_process_that_is_gone_is_interrupted():
    run = write_run(Path("runs"), settings("batch"), status="running")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    import socket

    run.status.write_text(
        json.dumps({"status": "running", "pid": gone.pid, "host": socket.gethostname()})
    )
    assert [row["status"] for row in read_rows()] == ["interrupted"]


def test_results_csv_reads_like_the_folders_it_was_made_from():
    config = replace(
        settings(),
        norm=NormConfig(name="group", num_groups=8, at={"conv1": "layer", "conv2": "none"}),
        data=DataConfig(name="folder", root="123"),
        tags=["a", "b"],
    )
    made_with = {"commit": "1234567", "dirty": False, "threads": 2, "cuda": None, "cudnn": 91002}
    write_run(Path("runs"), config, 0.1 + 0.2, test_loss=1 / 3, environment=made_with)
    view = write_results_view(Path("runs"))
    (by_folder,), (by_view,) = read_rows(["runs"]), read_rows([view])
    assert by_view["environment.threads"] == "2"
    assert by_view["environment.dirty"] == "false"
    for key, value in by_folder.items():
        if key != "folder":
            assert by_view[key] == value, key
            assert type(by_view[key]) is type(value), key
    assert by_view["norm.at"] == "{conv1: layer, conv2: none}"


def test_row_of_a_failed_run_says_with_what_it_was_made():
    write_run(Path("runs"), settings(), status="failed", reason="boom")
    (row,) = read_rows([write_results_view(Path("runs"))])
    assert (row["status"], row["environment.torch"]) == ("failed", "2.15.0")


def test_results_csv_of_a_version_without_environments_stays_readable():
    write_run(Path("runs"), settings(), 0.5)
    view = write_results_view(Path("runs"))
    header, *lines = csv.reader(view.read_text().splitlines())
    kept = [i for i, name in enumerate(header) if not name.startswith("environment.")]
    with Path("old.csv").open("w", newline="") as file:
        csv.writer(file).writerows([row[i] for i in kept] for row in (header, *lines))
    (row,) = read_rows(["old.csv"])
    assert (row["test_accuracy"], row["environment.torch"]) == (0.5, None)


def test_sources_are_folders_runs_names_tables_and_globs(tmp_path):
    write_seeds(Path("runs"), BATCH, "batch")
    write_seeds(Path("more"), LAYER, "layer")
    view = write_results_view(Path("more"))
    one = next(Path("more").glob("*/"))
    name = next(Path("runs").glob("*-s3-*")).name
    assert len(read_rows(["runs", "more"])) == 8
    assert len(read_rows([str(one)])) == 1
    assert [row["seed"] for row in read_rows([name])] == [3]
    assert len(read_rows([str(view)])) == 4
    assert len(read_rows([f"{tmp_path}/m*/*"])) == 4
    assert len(read_rows(["*/*-s0-*"])) == 2


def test_run_in_two_sources_counts_once_and_silently_where_they_agree():
    write_seeds(Path("runs"), BATCH, "batch")
    view = write_results_view(Path("runs"))
    heard: list[str] = []
    rows = read_rows([view, "runs"], heard.append)
    assert len(rows) == 4
    assert heard == []
    assert {row["environment.torch"] for row in rows} == {"2.15.0"}


def test_run_in_two_sources_that_disagree_is_said_and_the_first_taken():
    write_seeds(Path("here"), {0: 0.5}, "batch")
    write_seeds(Path("there"), {0: 0.6}, "batch")
    heard: list[str] = []
    (row,) = read_rows(["there", "here"], heard.append)
    assert row["test_accuracy"] == 0.6
    assert "test_accuracy 0.6 in there/" in heard[0]
    assert "test_accuracy 0.5 in here/" in heard[0]


def test_finished_run_goes_before_the_same_run_unfinished():
    write_run(Path("here"), settings(), status="interrupted")
    write_run(Path("there"), settings(), 0.6)
    heard: list[str] = []
    for sources in (["here", "there"], ["there", "here"]):
        (row,) = read_rows(sources, heard.append)
        assert (row["status"], row["test_accuracy"]) == ("done", 0.6)
    assert heard == []


def test_folder_whose_settings_cannot_be_read_is_named_and_left_out():
    write_run(Path("runs"), settings("none"), 0.5)
    broken = write_run(Path("runs"), settings("batch"), status="failed")
    broken.config.write_text("model: {nmae: x}\n")
    heard: list[str] = []
    assert [row["norm"] for row in read_rows(["runs"], heard.append)] == ["none"]
    assert str(broken.path) in heard[0]


def test_result_of_a_version_without_a_setting_has_its_default():
    run = write_run(Path("runs"), settings(), 0.5)
    result = read_json(run.result)
    del result["norm.conv_bias"]
    run.result.write_text(json.dumps(result))
    assert read_rows()[0]["norm.conv_bias"] == "auto"


@pytest.mark.parametrize("source", ["nowhere", "empty", "no*thing", "other.csv", "notes.txt"])
def test_source_without_runs_is_answered_with_what_would_do(source, capsys):
    Path("empty").mkdir()
    Path("other.csv").write_text("a,b\n1,2\n")
    Path("notes.txt").write_text("hello")
    code, out, err = compared(capsys, source)
    assert (code, out) == (2, "")
    assert source in err.splitlines()[0]
    assert len(err.splitlines()) == 2
