import csv
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sweeping import TINY, runs_of

from nnexp.cli.terminal import describe_norm, describe_rate, train_command
from nnexp.rundir import read_status
from nnexp.settings import ExperimentConfig, NormConfig, OptimizerConfig, run_id, to_yaml


def test_run_says_what_it_is_how_it_goes_and_what_to_type_next(tiny, capsys):
    assert train_command(tiny, ["model=baseline", "batch_size=16"]) == 0
    out = capsys.readouterr().out
    assert "baseline · norm batch (N,H,W per channel) · batch size 16 · seed 0" in out
    assert "parameters · fp32 on cpu, 1 thread\n" in out
    assert "synthetic: 120 training, 40 validation, 40 test images" in out
    assert f"writes to {tiny.runs_dir}/{run_id(tiny)}" in out
    assert [line.split()[0] for line in out.splitlines() if re.match(r" +\d/3 ", line)] == [
        "1/3",
        "2/3",
        "3/3",
    ]
    assert "\n3 epochs, 24 steps · sgd" in out
    assert "test_accuracy" in out
    assert "next:  nnexp train" in out
    assert "nnexp traces" in out
    assert "nnexp train model=baseline batch_size=16 norm=none" in out


def test_figures_shown_are_the_figures_written(tiny, capsys):
    train_command(tiny, [])
    lines = capsys.readouterr().out.splitlines()
    heading = next(i for i, line in enumerate(lines) if line.startswith("test_accuracy"))
    names = lines[heading].replace(" %", "").split()
    shown = dict(zip(names, lines[heading + 1].split(), strict=True))
    with (Path(tiny.runs_dir) / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert shown["test_accuracy"] == f"{100 * float(row['test_accuracy']):.2f}"
    assert shown["val_accuracy"] == f"{100 * float(row['val_accuracy']):.2f}"
    assert shown["parameters"] == f"{int(row['parameters']):,}"


def test_finished_run_is_said_to_be_done_with_its_figures(tiny, capsys):
    train_command(tiny, [])
    first = capsys.readouterr().out
    assert train_command(tiny, []) == 0
    second = capsys.readouterr().out
    assert "is done already" in second
    assert first[first.index("test_accuracy") :] == second[second.index("test_accuracy") :]


def test_diverged_run_is_a_result_and_not_a_failure(tiny, capsys):
    wild = replace(
        tiny,
        norm=NormConfig(name="none"),
        optimizer=OptimizerConfig(learning_rate=1e6, learning_rate_scaling="none"),
    )
    assert train_command(wild, []) == 0
    assert "diverged: the loss was not finite at step" in capsys.readouterr().out


def test_failed_run_is_one_line_and_where_the_rest_is(tiny, capsys, monkeypatch):
    monkeypatch.setattr("nnexp.training.step.Step.update", lambda *args: 1 / 0)
    assert train_command(tiny, []) == 1
    err = capsys.readouterr().err
    assert "nnexp: the run failed: ZeroDivisionError: division by zero" in err
    assert "Traceback" not in err
    assert "log.txt" in err


def test_folder_of_other_settings_is_one_line(tiny, capsys):
    folder = Path(tiny.runs_dir) / run_id(tiny)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(replace(tiny, seed=9)))
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.safetensors").touch()  # it has saved something
    assert train_command(tiny, []) == 1
    assert "was edited or is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (NormConfig(name="layer"), "layer (C per position)"),
        (NormConfig(name="layer_chw"), "layer_chw (C,H,W per image)"),
        (NormConfig(name="none"), "none"),
        (
            NormConfig(name="batch", at={"conv2": "layer"}),
            "batch (N,H,W per channel); layer in conv2",
        ),
    ],
)
def test_norm_is_shown_with_what_it_is_over(norm, words):
    assert describe_norm(ExperimentConfig(norm=norm)) == words


def test_reader_that_goes_away_does_not_end_the_run(nnexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reading, output = os.pipe()
    with subprocess.Popen(["head", "-n", "1"], stdin=reading, stdout=subprocess.DEVNULL):
        os.close(reading)
        done = nnexp("train", *TINY, output=output)
        os.close(output)
    assert done.returncode == 0, done.stderr
    assert read_status(runs_of()[0]) == {"status": "done"}


@contextmanager
def unwritable(kind: str) -> Iterator[int]:
    """Give a standard output that cannot be written."""
    if kind == "full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    elif kind == "terminal that is gone":
        other_end, output = pty.openpty()
        os.close(other_end)
    else:
        other_end, output = os.pipe()
        os.close(other_end)
    yield output
    os.close(output)


UNWRITABLE = ["full disk", "terminal that is gone", "pipe that nobody reads"]


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_output_that_cannot_be_written_does_not_end_the_run(kind, nnexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with unwritable(kind) as output:
        done = nnexp("train", *TINY, output=output)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (run,) = runs_of()
    assert read_status(run) == {"status": "done"}
    log = run.log.read_text()
    assert [f"epoch {epoch}:" in log for epoch in (1, 2, 3)] == [True] * 3
    assert "done after 9 steps" in log


def test_exit_code_says_what_became_of_a_training_that_could_not_print(
    nnexp, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (run,) = runs_of()
    run.path.mkdir(parents=True)
    run.checkpoint.write_text("in the way")
    with unwritable("full disk") as output:
        done = nnexp("train", *TINY, output=output)
    assert done.returncode == 1
    assert "the run failed: FileExistsError" in done.stderr


def test_next_command_leaves_out_what_belongs_to_the_norm_alone(tiny, capsys):
    train_command(tiny, ["norm=group", "norm.num_groups=4", "seed=3"])
    assert "nnexp train seed=3 norm=none" in capsys.readouterr().out


def test_long_run_says_so_with_the_smaller_scale(tiny, monkeypatch):
    from nnexp import experiment
    from nnexp.experiment import Listener, clock, logger

    lines: list[str] = []

    class Notes(Listener):
        def note(self, text: str) -> None:
            lines.append(text)

    monkeypatch.setattr(logger, "LONG_RUN", 0.0)
    monkeypatch.setattr(clock, "LOOK_AFTER", 0.0)
    experiment.run(tiny, [Notes()])
    (line,) = lines
    assert "will take about" in line
    assert "scale=laptop is smaller" in line


@pytest.mark.parametrize(
    ("scaling", "batch_size", "peak", "told"),
    [
        ("linear", 128, 0.02, "peak learning rate 0.02, warm-up 10 %, cosine"),
        ("linear", 32, 0.005, "peak learning rate 0.02 × 32/128 = 0.005, warm-up 10 %, cosine"),
        ("sqrt", 32, 0.01, "peak learning rate 0.02 × √(32/128) = 0.01, warm-up 10 %, cosine"),
        ("none", 32, 0.02, "peak learning rate 0.02, warm-up 10 %, cosine"),
    ],
)
def test_the_learning_rate_used_is_told_with_its_rule(scaling, batch_size, peak, told):
    optimizer = OptimizerConfig(learning_rate_scaling=scaling)
    config = ExperimentConfig(optimizer=optimizer, batch_size=batch_size)
    assert describe_rate(config, peak) == told


def test_run_that_has_learned_nothing_is_said_to_be_at_chance(tiny, capsys):
    stuck = replace(tiny, optimizer=OptimizerConfig(learning_rate=1e-12), epochs=1)
    train_command(stuck, [])
    assert (
        "at chance: the test accuracy is no better than guessing a class (10.00 %)"
        in capsys.readouterr().out
    )


def test_one_step_of_one_epoch_is_no_plural(tiny, capsys):
    train_command(replace(tiny, max_steps=1), [])
    assert "\n1 epoch, 1 step · sgd" in capsys.readouterr().out
