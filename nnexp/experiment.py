"""One run, from config to run folder: the only module that sees every part."""

import math
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnexp.config import ConfigError, ExperimentConfig, result_head, run_id
from nnexp.data import Images, batch_sizes, load_images
from nnexp.environment import choose_device, describe_environment, prepare_process
from nnexp.interrupt import Interrupted, StopSignal
from nnexp.journal import Journal
from nnexp.lock import locked, read_status
from nnexp.loop import Diverged, evaluate, fit
from nnexp.models import build_model
from nnexp.models.init import initialize
from nnexp.norms import find_sites, keep_norms_in_fp32, make_norms
from nnexp.optim import build_optimizer, peak_learning_rate
from nnexp.probes.figures import probe_figures
from nnexp.probes.instruments import make_instruments
from nnexp.reporter import Facts, Reporter, Silent
from nnexp.resume import check_config, check_images, open_folder, resume
from nnexp.rundir import (
    DiskFullError,
    RunDir,
    RunError,
    finished_result,
    naming_full_disk,
    read_table,
    read_tables,
    write_json,
    write_results_view,
    write_status,
)
from nnexp.state import TrainState, drop_states, keep_weights, save_state


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run: its folder, its status, and its one row where it has one."""

    run: RunDir
    status: str
    result: dict[str, Any]
    signum: int | None = None  # the signal that interrupted it


def run_experiment(
    config: ExperimentConfig, reporter: Reporter | None = None, command: Sequence[str] = ()
) -> Outcome:
    """Train `config` to its end in its folder, going on where an earlier try stopped.

    A run that is done is not run again. A loss that is not finite ends in status `diverged`, a
    signal in `interrupted`, anything unforeseen in `failed` with its traceback in `log.txt`.

    Raises:
        ConfigError: The settings cannot work and nothing was written, or the folder cannot be used.
        RunError: The folder is in use, belongs to other settings, or the disk is full.
    """
    reporter = reporter or Silent()
    run = RunDir(Path(config.runs_dir) / run_id(config))
    if not finished_result(run):
        with locked(run):
            if not finished_result(run):  # still: another process may have ended it meanwhile
                return _run_guarded(run, config, reporter, command)
    return _already_done(run, config, reporter)


def _already_done(run: RunDir, config: ExperimentConfig, reporter: Reporter) -> Outcome:
    """Say that there is nothing to do; what a kill left open at the run's end is closed.

    The folder may be one that this process cannot write to.
    """
    result = finished_result(run)
    check_config(run, config, reporter.note)
    if config.data.name == "folder":  # the one source whose images may be others by now
        with suppress(ConfigError):  # gone altogether: the result stands
            check_images(run, load_images(config.data, reporter.loading).fingerprint)
    if read_status(run).get("status") != result["status"]:
        with suppress(OSError, ConfigError, RunError), locked(run):  # the result stands without it
            _close(run, result)
    reporter.already_done(run.path, result)
    return Outcome(run, result["status"], result)


def _run_guarded(
    run: RunDir, config: ExperimentConfig, reporter: Reporter, command: Sequence[str]
) -> Outcome:
    """Run, and leave a true status behind whatever happens."""
    try:
        with naming_full_disk(run):
            return _run(run, config, reporter, command)
    except Interrupted as stop:
        write_status(run, "interrupted", reason=str(stop))
        return Outcome(run, "interrupted", {}, stop.signum)
    except KeyboardInterrupt:
        if run.status.exists():
            write_status(run, "interrupted", reason="SIGINT")
        raise
    except DiskFullError as error:
        with suppress(OSError):
            write_status(run, "failed", reason=str(error))
        raise
    except (ConfigError, RunError):
        raise
    except Exception as error:  # noqa: BLE001  the one place that isolates a job
        with suppress(OSError):
            Journal(run, reporter).write_log(traceback.format_exc())
            write_status(run, "failed", reason=f"{type(error).__name__}: {error}")
            write_results_view(run.path.parent)
        reporter.failed(run.path, f"{type(error).__name__}: {error}")
        return Outcome(run, "failed", {})


def _run(
    run: RunDir, config: ExperimentConfig, reporter: Reporter, command: Sequence[str]
) -> Outcome:
    device = choose_device(config.device)
    prepare_process(config, device)
    journal = Journal(run, reporter)
    config = check_config(run, config, journal.note)
    build_checked_model(config, 10)  # before images are fetched: only the classifier needs them
    images = load_images(config.data, reporter.loading)
    state = start_state(config, len(images.classes), device)
    check_images(run, images.fingerprint)
    open_folder(run, config, images.fingerprint, describe_environment(device, command))
    total_steps = len(batch_sizes(len(images.train), config.batch_size)) * config.epochs
    resume(run, state, journal)
    facts = _facts(run, config, state, images, total_steps)
    reporter.started(facts)
    journal.begin(state, facts)
    return _train(run, config, state, images.to(device), journal)


def start_state(config: ExperimentConfig, num_classes: int, device: torch.device) -> TrainState:
    """Build the network and its optimizer as they are before the first step.

    Raises:
        ConfigError: A norm cannot work at one of the network's sites.
    """
    model = build_checked_model(config, num_classes)
    initialize(model, config.init, config.seed)
    if config.precision == "bf16":
        keep_norms_in_fp32(model)
    model.to(device)
    peak = peak_learning_rate(config.optimizer, config.batch_size)
    return TrainState(model, build_optimizer(model, config.optimizer, peak), device)


def build_checked_model(config: ExperimentConfig, num_classes: int) -> nn.Module:
    """Return the network, after every norm site was found able to work.

    Raises:
        ConfigError: A norm cannot work at one of the network's sites.
    """
    model = build_model(config.model, num_classes, make_norms(config.norm))
    find_sites(model, config.batch_size)
    return model


def _train(
    run: RunDir,
    config: ExperimentConfig,
    state: TrainState,
    images: Images,
    journal: Journal,
) -> Outcome:
    instruments = make_instruments(state, images, config)
    stop, saved = StopSignal(), (-1, -1)

    def save() -> None:
        nonlocal saved
        journal.keep_rows(instruments)
        if saved != (state.epoch, state.step):  # else the state before would be lost for nothing
            save_state(state, run.checkpoint, journal.notes(), read_tables(run))
            saved = (state.epoch, state.step)

    def after_batch() -> None:
        journal.tick(state)
        if journal.save_is_due():
            save()
        stop.raise_if_set()

    with stop.listening():
        try:
            for row in fit(state, images, config, instruments, after_batch):
                journal.keep_epoch(row, instruments, state.device)
                save()
                stop.raise_if_set()
            figures = _look_at_test_images(state, images, config, stop)
            if config.probe.points:
                figures |= _look_back_at_training_images(state, images, config, stop)
        except Diverged as divergence:
            journal.keep_rows(instruments)
            figures = {"diverged_at_step": divergence.step}
        except Interrupted:
            save()
            journal.interrupted(state)
            raise
        result = _finish(run, config, state, journal, figures)
    return Outcome(run, result["status"], result, stop.signum)


def _look_at_test_images(
    state: TrainState, images: Images, config: ExperimentConfig, stop: StopSignal
) -> dict[str, Any]:
    loss, accuracy = evaluate(state.model, images.test, images, config.precision, stop.raise_if_set)
    if not math.isfinite(loss):
        raise Diverged(state.step)
    return {"test_accuracy": accuracy, "test_loss": loss}


def _look_back_at_training_images(
    state: TrainState, images: Images, config: ExperimentConfig, stop: StopSignal
) -> dict[str, Any]:
    """Return the accuracy on the training images as they are, evaluated like the test images."""
    _, accuracy = evaluate(state.model, images.train, images, config.precision, stop.raise_if_set)
    return {"clean_train_accuracy": accuracy}


def _finish(
    run: RunDir,
    config: ExperimentConfig,
    state: TrainState,
    journal: Journal,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Write the run's one row, and return it; with it on disk, the run is over."""
    status = "diverged" if "diverged_at_step" in figures else "done"
    result = {
        **result_head(config, status),
        **dict.fromkeys(("test_accuracy", "test_loss", "diverged_at_step")),
        **figures,
        **journal.summary(),
        **_probed(run, config, figures),
        "parameters": count_parameters(state.model),
        "steps": state.step,
    }
    if status == "done":
        keep_weights(state, run.checkpoint)
    write_json(run.result, result)
    _close(run, result)
    journal.finished(result)
    return result


def _probed(run: RunDir, config: ExperimentConfig, figures: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that only a probed run has."""
    if not config.probe.points:
        return {}
    accuracy = figures.get("clean_train_accuracy")
    return {
        "clean_train_accuracy": accuracy,
        "generalization_gap": None if accuracy is None else accuracy - figures["test_accuracy"],
        **probe_figures(read_table(run.probes, words={"layer", "quantity"})),
    }


def _close(run: RunDir, result: dict[str, Any]) -> None:
    """Do what follows from a result: the view, the status, and no saved states any more."""
    write_results_view(run.path.parent)
    drop_states(run.checkpoint)
    step = result["diverged_at_step"]
    write_status(run, result["status"], **({} if step is None else {"step": step}))


def count_parameters(model: nn.Module) -> int:
    """Return the number of learned values."""
    return sum(parameter.numel() for parameter in model.parameters())


def _facts(
    run: RunDir, config: ExperimentConfig, state: TrainState, images: Images, total_steps: int
) -> Facts:
    return Facts(
        run=run.path,
        config=config,
        parameters=count_parameters(state.model),
        num_images=(len(images.train), len(images.val), len(images.test)),
        device=str(state.device),
        threads=torch.get_num_threads(),
        total_steps=total_steps,
        step=state.step,
        epoch=state.epoch,
        peak_learning_rate=peak_learning_rate(config.optimizer, config.batch_size),
    )
