import subprocess
import sys
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnexp import experiment
from nnexp.settings import ConfigError
from nnexp.settings.compose import compose_config


class Counting(experiment.Listener):
    """Counts the epochs that it is told of."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self, row, images_per_second):
        self.epochs += 1


class Broken(Counting):
    """Raises at the end of the first epoch."""

    def epoch(self, row, images_per_second):
        super().epoch(row, images_per_second)
        raise ValueError("no such server")


def test_every_listener_is_told(tiny):
    listeners = Counting(), Counting()
    experiment.run(replace(tiny, epochs=2), listeners)
    assert [listener.epochs for listener in listeners] == [2, 2]


def test_listener_that_raises_is_noted_once_and_dropped_and_harms_nothing(tiny, tmp_path, capsys):
    broken, other = Broken(), Counting()
    harmed = experiment.run(tiny, [broken, other])
    alone = experiment.run(replace(tiny, runs_dir=str(tmp_path / "alone")))
    assert (harmed.status, broken.epochs, other.epochs) == ("done", 1, 3)
    assert capsys.readouterr().err.count("Broken raised ValueError: no such server") == 1
    log = harmed.run.log.read_text()
    assert log.count("Broken is dropped") == 1
    assert "in epoch" in log
    assert harmed.run.metrics.read_bytes() == alone.run.metrics.read_bytes()


def test_listener_of_no_table_is_refused_before_anything_is_written(tiny):
    with pytest.raises(ConfigError, match="no listeners 'tensorbord'") as refused:
        experiment.run(replace(tiny, listeners=["tensorbord"]))
    assert "did you mean listeners=tensorboard" in refused.value.remedy


def test_listeners_of_the_settings_are_built_with_the_run_folder(tiny, monkeypatch):
    built = []

    def build(config, folder):
        built.append((config, folder, Counting()))
        return built[-1][-1]

    monkeypatch.setitem(experiment.LISTENERS, "counting", build)
    config = replace(tiny, epochs=1, listeners=["counting"])
    outcome = experiment.run(config)
    ((seen, folder, listener),) = built
    assert (seen, folder, listener.epochs) == (config, outcome.run.path, 1)


def test_listeners_are_no_part_of_what_a_run_is(tiny):
    from nnexp.settings import run_id

    assert run_id(replace(tiny, listeners=["tensorboard"])) == run_id(tiny)


def test_tensorboard_is_known_when_listeners_have_been_imported():
    assert compose_config(["listeners=[tensorboard]"]).listeners == ["tensorboard"]


def test_tensorboard_that_is_not_installed_is_said_in_two_lines(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="needs the package tensorboard") as refused:
        experiment.run(replace(tiny, listeners=["tensorboard"]))
    assert "nnexp[tensorboard]" in refused.value.remedy


def test_tensorboard_holds_the_metrics_of_every_epoch(tiny):
    outcome = experiment.run(replace(tiny, epochs=2, listeners=["tensorboard"]))
    events = EventAccumulator(str(outcome.run.path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_accuracy")] == [8, 16]
    assert events.Scalars("val_accuracy")[-1].value == pytest.approx(outcome.result["val_accuracy"])


def test_listeners_can_be_named_without_importing_torch():
    code = "import sys, nnexp.experiment as e; e.Listener; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
