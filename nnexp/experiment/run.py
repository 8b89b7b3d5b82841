"""One run, from config to run folder: the only module that sees every part."""

import math
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnexp.data import Images, batch_sizes, load_images
from nnexp.experiment.checkpoint import drop_states, keep_weights, save_state
from nnexp.experiment.environment import describe_environment
from nnexp.experiment.listeners import Listener, RunInfo
from nnexp.experiment.logger import RunLogger
from nnexp.experiment.resume import check_config, check_images, open_folder, resume
from nnexp.experiment.signals import Interrupted, StopSignal
from nnexp.probes import make_observers, probe_figures
from nnexp.rundir import (
    DiskFullError,
    RunDir,
    RunError,
    finished_result,
    locked,
    naming_full_disk,
    read_status,
    read_table,
    read_tables,
    write_json,
    write_results_view,
    write_status,
)
from nnexp.settings import ConfigError, ExperimentConfig, result_head, run_id
from nnexp.training import (
    Diverged,
    TrainState,
    build_checked_model,
    choose_device,
    count_parameters,
    evaluate,
    fit,
    peak_learning_rate,
    prepare_process,
    start_state,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run: its folder, its status, and its one row where it has one."""

    run: RunDir
    status: str
    result: dict[str, Any]
    signum: int | None = None  # the signal that interrupted it


def run_experiment(
    config: ExperimentConfig, listener: Listener | None = None, command: Sequence[str] = ()
) -> Outcome:
    """Train `config` to its end in its folder, going on where an earlier try stopped.

    A run that is done is not run again. A loss that is not finite ends in status `diverged`, a
    signal in `interrupted`, anything unforeseen in `failed` with its traceback in `log.txt`.

    Raises:
        ConfigError: The settings cannot work and nothing was written, or the folder cannot be used.
        RunError: The folder is in use, belongs to other settings, or the disk is full.
    """
    listener = listener or Listener()
    run = RunDir(Path(config.runs_dir) / run_id(config))
    if not finished_result(run):
        with locked(run):
            if not finished_result(run):  # still: another process may have ended it meanwhile
                return _run_guarded(run, config, listener, command)
    return _already_done(run, config, listener)


def _already_done(run: RunDir, config: ExperimentConfig, listener: Listener) -> Outcome:
    """Say that there is nothing to do; what a kill left open at the run's end is closed.

    The folder may be one that this process cannot write to.
    """
    result = finished_result(run)
    check_config(run, config, listener.note)
    if config.data.name == "folder":  # the one source whose images may be others by now
        with suppress(ConfigError):  # gone altogether: the result stands
            check_images(run, load_images(config.data, listener.loading).fingerprint)
    if read_status(run).get("status") != result["status"]:
        with suppress(OSError, ConfigError, RunError), locked(run):  # the result stands without it
            _close(run, result)
    listener.already_done(run.path, result)
    return Outcome(run, result["status"], result)


def _run_guarded(
    run: RunDir, config: ExperimentConfig, listener: Listener, command: Sequence[str]
) -> Outcome:
    """Run, and leave a true status behind whatever happens."""
    try:
        with naming_full_disk(run):
            return _run(run, config, listener, command)
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
            RunLogger(run, listener).write_log(traceback.format_exc())
            write_status(run, "failed", reason=f"{type(error).__name__}: {error}")
            write_results_view(run.path.parent)
        listener.failed(run.path, f"{type(error).__name__}: {error}")
        return Outcome(run, "failed", {})


def _run(
    run: RunDir, config: ExperimentConfig, listener: Listener, command: Sequence[str]
) -> Outcome:
    device = choose_device(config.device)
    prepare_process(config, device)
    logger = RunLogger(run, listener)
    config = check_config(run, config, logger.note)
    build_checked_model(config, 10)  # before images are fetched: only the classifier needs them
    images = load_images(config.data, listener.loading)
    state = start_state(config, len(images.classes), device)
    check_images(run, images.fingerprint)
    open_folder(run, config, images.fingerprint, describe_environment(device, command))
    total_steps = len(batch_sizes(len(images.train), config.batch_size)) * config.epochs
    resume(run, state, logger)
    facts = _run_info(run, config, state, images, total_steps)
    listener.started(facts)
    logger.begin(state, facts)
    return _train(run, config, state, images.to(device), logger)


def _train(
    run: RunDir,
    config: ExperimentConfig,
    state: TrainState,
    images: Images,
    logger: RunLogger,
) -> Outcome:
    observers = make_observers(state, images, config)
    stop, saved = StopSignal(), (-1, -1)

    def save() -> None:
        nonlocal saved
        logger.keep_rows(observers)
        if saved != (state.epoch, state.step):  # else the state before would be lost for nothing
            save_state(state, run.checkpoint, logger.notes(), read_tables(run))
            saved = (state.epoch, state.step)

    def after_batch() -> None:
        logger.tick(state)
        if logger.save_is_due():
            save()
        stop.raise_if_set()

    with stop.listening():
        try:
            for row in fit(state, images, config, observers, after_batch):
                logger.keep_epoch(row, observers, state.device)
                save()
                stop.raise_if_set()
            figures = _look_at_test_images(state, images, config, stop)
            if config.probe.points:
                figures |= _look_back_at_training_images(state, images, config, stop)
        except Diverged as divergence:
            logger.keep_rows(observers)
            figures = {"diverged_at_step": divergence.step}
        except Interrupted:
            save()
            logger.interrupted(state)
            raise
        result = _finish(run, config, state, logger, figures)
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
    logger: RunLogger,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """Write the run's one row, and return it; with it on disk, the run is over."""
    status = "diverged" if "diverged_at_step" in figures else "done"
    result = {
        **result_head(config, status),
        **dict.fromkeys(("test_accuracy", "test_loss", "diverged_at_step")),
        **figures,
        **logger.summary(),
        **_probed(run, config, figures),
        "parameters": count_parameters(state.model),
        "steps": state.step,
    }
    if status == "done":
        keep_weights(state, run.checkpoint)
    write_json(run.result, result)
    _close(run, result)
    logger.finished(result)
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


def _run_info(
    run: RunDir, config: ExperimentConfig, state: TrainState, images: Images, total_steps: int
) -> RunInfo:
    return RunInfo(
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
