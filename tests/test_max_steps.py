"""Runs that are as long as `max_steps` says: equal steps at every batch size."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import bytes_of, run_in_child

from nnexp import experiment
from nnexp.cli.terminal import TerminalListener
from nnexp.compare import load_runs
from nnexp.compare.progress import list_runs
from nnexp.experiment import Listener
from nnexp.rundir import RunDir, read_table
from nnexp.settings import ConfigError, ExperimentConfig, from_yaml, run_id, to_yaml
from nnexp.settings.compose import compose, compose_jobs
from nnexp.sweeps.estimate import num_images
from nnexp.training import learning_rate_at, plan_run

SAME = ("data.train_images=100", "data.val_images=10", "data.test_images=10")
STEPS = 11  # of `tiny`, whose epochs have 8: one epoch, and three batches of 16 images


@pytest.fixture
def cut(tiny) -> ExperimentConfig:
    return replace(tiny, max_steps=STEPS)


def folder_of(config: ExperimentConfig) -> RunDir:
    return RunDir(Path(config.runs_dir) / run_id(config))


def rows_of(config: ExperimentConfig) -> list[dict]:
    return read_table(folder_of(config).metrics)


def test_the_last_epoch_ends_with_the_last_step_and_has_a_row_of_its_own(cut):
    outcome = experiment.run(cut)
    rows = rows_of(cut)
    assert [(row["epoch"], row["step"], row["images"]) for row in rows] == [
        (1, 8, 120),
        (2, STEPS, 120 + 3 * 16),
    ]
    last_rate = learning_rate_at(STEPS - 1, STEPS, 0.02, cut.schedule)
    assert rows[-1]["learning_rate"] == pytest.approx(last_rate)
    result = outcome.result
    assert (result["status"], result["steps"], result["epochs_finished"]) == ("done", STEPS, 2)
    assert (result["max_steps"], result["epochs"]) == (STEPS, None)


def test_means_of_the_cut_epoch_are_over_its_own_images_and_steps(cut):
    """With a learning rate of next to nothing, its loss is about that of a whole epoch."""
    still = replace(cut, optimizer=replace(cut.optimizer, learning_rate=1e-12, weight_decay=0.0))
    experiment.run(still)
    whole, short = rows_of(still)
    assert short["train_loss"] == pytest.approx(whole["train_loss"], rel=0.1)
    assert short["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=0.5)
    right = short["train_accuracy"] * 48
    assert right == pytest.approx(round(right))


def test_steps_of_whole_epochs_give_the_bytes_of_these_epochs(tiny):
    by_epochs, by_steps = replace(tiny, epochs=2), replace(tiny, max_steps=16)
    assert run_id(by_epochs) != run_id(by_steps)
    for config in (by_epochs, by_steps):
        experiment.run(config)
    for name in ("metrics", "traces"):
        first, second = (getattr(folder_of(one), name) for one in (by_epochs, by_steps))
        assert first.read_bytes() == second.read_bytes()


def test_traces_end_with_the_last_step(cut):
    experiment.run(cut)
    assert (
        max(row["step"] for row in read_table(folder_of(cut).traces, words={"layer", "quantity"}))
        == STEPS
    )


@pytest.mark.parametrize(
    ("time_point", "at"),
    [
        ("killed after step, saving all the time", 9),
        ("killed after step, saving all the time", STEPS),
        ("killed between rows and state", 2),
        ("killed at the end, in write_json", 1),
    ],
)
def test_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(cut, tmp_path, time_point, at):
    straight = replace(cut, runs_dir=str(tmp_path / "straight"))
    assert run_in_child(straight) == 0
    assert run_in_child(cut, time_point, at) == -signal.SIGKILL
    assert run_in_child(cut) == 0
    assert bytes_of(cut) == bytes_of(straight)


@pytest.mark.parametrize(
    ("max_steps", "batch_size", "epochs"), [(16, 16, 2), (17, 16, 3), (3, 16, 1), (40, 120, 40)]
)
def test_epochs_are_what_the_steps_come_to(tiny, max_steps, batch_size, epochs):
    plan = plan_run(replace(tiny, max_steps=max_steps, batch_size=batch_size), 120)
    assert (plan.total_steps, plan.epochs) == (max_steps, epochs)


def test_a_run_of_fewer_steps_than_an_epoch_has_one_row(tiny):
    short = replace(tiny, max_steps=3)
    experiment.run(short)
    assert [(row["step"], row["images"]) for row in rows_of(short)] == [(3, 48)]


class Heard(Listener):
    def __init__(self) -> None:
        self.left, self.speeds, self.totals = [], [], []

    def started(self, info) -> None:
        self.info = info

    def progress(self, progress) -> None:
        self.left.append((progress.epoch, progress.step, progress.total_steps))
        self.totals.append(progress.totals())

    def epoch(self, row, images_per_second) -> None:
        self.speeds.append(images_per_second)


def test_listeners_are_told_of_the_steps_and_of_the_epochs_that_they_come_to(cut):
    heard = Heard()
    experiment.run(cut, [heard])
    assert (heard.info.total_steps, heard.info.epochs, heard.info.steps_per_epoch) == (STEPS, 2, 8)
    assert {total for _, _, total in heard.left} == {STEPS}
    assert max(step for _, step, _ in heard.left) == STEPS
    rates = [row["images_per_second"] for row in read_table(folder_of(cut).timing)]
    assert rates == pytest.approx(heard.speeds)
    assert all(0 <= accuracy <= 1.05 for _, accuracy in heard.totals)


def test_terminal_and_lists_say_how_many_epochs(cut, capsys):
    reporter = TerminalListener(["max_steps=11"])
    experiment.run(cut, [reporter])
    out = capsys.readouterr().out
    assert "2 epochs, 11 steps" in out
    assert "2/2" in out
    (state,) = list_runs(cut.runs_dir, print)
    assert state.epochs == "2"


def test_loaded_runs_have_no_epochs_where_steps_were_set(tiny, cut):
    for config in (tiny, cut):
        experiment.run(config)
    table = load_runs(cut.runs_dir)
    lengths = table.set_index("run_id")["epochs"]
    assert lengths[run_id(tiny)] == 3
    assert lengths.isna()[run_id(cut)]


def test_steps_decide_the_name_and_the_scale_does_not():
    small, large = (compose("max_steps=50", f"scale={one}", *SAME) for one in ("smoke", "laptop"))
    assert run_id(small) == run_id(large) != run_id(compose("max_steps=51", "scale=smoke", *SAME))
    assert small.epochs is None


def test_settings_come_back_from_their_file(cut):
    assert from_yaml(to_yaml(cut)) == cut
    before = to_yaml(replace(cut, max_steps=None, epochs=3)).replace("max_steps: null\n", "")
    assert from_yaml(before).max_steps is None


@pytest.mark.parametrize(
    "words",
    [
        ("epochs=3", "max_steps=50"),
        ("max_steps=50", "epochs=3", "scale=smoke"),
    ],
)
def test_typed_epochs_beside_steps_are_refused(words):
    with pytest.raises(ConfigError, match="epochs and max_steps are both set"):
        compose(*words)
    with pytest.raises(ConfigError, match="epochs and max_steps are both set"):
        compose_jobs([*words, "seed=0,1"])


@pytest.mark.parametrize("words", [("epochs=3,4", "max_steps=50"), ("epochs=3", "max_steps=50,60")])
def test_so_they_are_in_a_sweep(words):
    with pytest.raises(ConfigError, match="epochs and max_steps are both set"):
        compose_jobs(words)


def test_one_of_the_two_may_be_null():
    assert compose("epochs=null", "max_steps=50").max_steps == 50
    assert compose("epochs=3", "max_steps=null").epochs == 3
    with pytest.raises(ConfigError, match="neither epochs nor max_steps"):
        compose("epochs=null")


def test_batch_sizes_can_be_swept_at_equal_steps():
    jobs = [config for _, config in compose_jobs(["batch_size=8,16", "max_steps=50", *SAME])]
    assert [(job.batch_size, job.max_steps, job.epochs) for job in jobs] == [
        (8, 50, None),
        (16, 50, None),
    ]


def test_estimate_counts_the_images_of_the_steps_and_an_evaluation_each_epoch(cut):
    assert num_images(cut) == pytest.approx(STEPS * 16 + (2 * 40 + 40) / 3)
