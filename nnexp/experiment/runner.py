"""Runs one experiment, from its settings to a finished folder, and says what became of it."""

import math
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nnexp.data import Images, load_images
from nnexp.experiment.checkpoint import drop_states, keep_weights, save_state
from nnexp.experiment.environment import describe_environment
from nnexp.experiment.listeners import LISTENERS, Listener, Listeners, RunInfo
from nnexp.experiment.logger import RunLogger
from nnexp.experiment.result import make_result
from nnexp.experiment.resume import (
    check_config,
    check_images,
    layout_of,
    open_folder,
    resume,
    step_of,
)
from nnexp.experiment.signals import Interrupted, StopSignal
from nnexp.experiment.turns import one_at_a_time
from nnexp.probes import evaluate_with_other_statistics, make_observers
from nnexp.rundir import (
    DiskFullError,
    RunDir,
    RunError,
    append_log,
    finished_result,
    locked,
    naming_full_disk,
    read_status,
    read_tables,
    write_json,
    write_results_view,
    write_status,
)
from nnexp.settings import ConfigError, ExperimentConfig, run_id
from nnexp.settings.plugins import check_code, code_of, explaining_plugins
from nnexp.settings.tables import additions
from nnexp.training import (
    UNTESTED,
    Diverged,
    RunPlan,
    Step,
    TrainState,
    build_checked_model,
    choose_device,
    choose_layout,
    choose_step,
    count_parameters,
    emulates_bf16,
    evaluate,
    fit,
    make_step,
    plan_run,
    prepare_process,
    start_state,
)


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """What became of a run: its folder, its status, and its one row where it has one."""

    run: RunDir
    status: str
    result: dict[str, Any]
    signum: int | None = None  # the signal that interrupted it

    def __repr__(self) -> str:
        """Return what a notebook shows: where the run is and what it came to."""
        accuracy = self.result.get("test_accuracy")
        shown = "" if accuracy is None else f", test accuracy {100 * accuracy:.2f} %"
        return f"Outcome({self.run.path}: {self.status}{shown})"


@one_at_a_time()
def run(
    config: ExperimentConfig,
    listeners: Sequence[Listener] = (),
    command: Sequence[str] = (),
    *,
    rebuild_view: bool = True,
) -> Outcome:
    """Train `config` to its end in its folder, going on where an earlier try stopped.

    A run that is done is not run again. A loss that is not finite ends in status `diverged`, a
    signal in `interrupted`, anything unforeseen in `failed` with its traceback in `log.txt`.

    Calls in several threads train one after the other.

    Args:
        config: The settings.
        listeners: Who is told how it goes, beside those that the setting `listeners` names. One
            that raises is noted in `log.txt` and on standard error, and told nothing more.
        command: The words that `environment.json` records.
        rebuild_view: Whether `results.csv` is rebuilt; a sweep does that itself, for many runs.

    Raises:
        ConfigError: The settings cannot work and nothing was written, the folder cannot be used, or
            a listener calls this inside a run.
        RunError: The folder is in use, belongs to other settings, or the disk is full.
    """
    config.check()
    check_code(config)
    config = replace(config, code=code_of(config))  # which settings made in Python lack
    folder = RunDir(Path(config.runs_dir) / run_id(config))
    named = [LISTENERS[name](config, folder.path) for name in config.listeners]
    everyone = Listeners(folder, [*listeners, *named])
    if not finished_result(folder):
        with locked(folder):
            if not finished_result(folder):  # still: another process may have ended it meanwhile
                return _run_guarded(folder, config, everyone, command, rebuild_view)
    return _already_done(folder, config, everyone)


def _already_done(run: RunDir, config: ExperimentConfig, listeners: Listeners) -> Outcome:
    """Say that there is nothing to do; what a kill left open at the run's end is closed.

    The folder may be one that this process cannot write to.
    """
    result = finished_result(run)
    check_config(run, config, partial(listeners.tell, Listener.note))
    if config.data.name in ("folder", *additions("data")):  # its images may be others by now
        with suppress(ConfigError):  # gone altogether: the result stands
            images = load_images(config.data, partial(listeners.tell, Listener.loading))
            check_images(run, images.fingerprint)
    if read_status(run).get("status") != result["status"]:
        with suppress(OSError, ConfigError, RunError), locked(run):  # the result stands without it
            _close(run, result, rebuild_view=True)
    listeners.tell(Listener.already_done, run.path, result)
    return Outcome(run, result["status"], result)


def _run_guarded(
    run: RunDir,
    config: ExperimentConfig,
    listeners: Listeners,
    command: Sequence[str],
    rebuild_view: bool,
) -> Outcome:
    """Run, and leave a true status behind whatever happens."""
    try:
        with naming_full_disk(run):
            return _run(run, config, listeners, command, rebuild_view)
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
        reason = f"{type(error).__name__}: {error}"
        with suppress(OSError):
            append_log(run, traceback.format_exc())
            write_status(run, "failed", reason=reason)
            if rebuild_view:
                write_results_view(run.path.parent)
        listeners.tell(Listener.failed, run.path, reason)
        return Outcome(run, "failed", {})


def _run(
    run: RunDir,
    config: ExperimentConfig,
    listeners: Listeners,
    command: Sequence[str],
    rebuild_view: bool,
) -> Outcome:
    device = choose_device(config.device)
    prepare_process(config, device)
    logger = RunLogger(run, listeners)
    if device.type in UNTESTED:
        logger.note(f"nnexp was never tested on {device.type}: compare a short run with device=cpu")
    if config.precision == "bf16" and emulates_bf16(device):
        logger.note("this processor has no bfloat16 and emulates it; precision=fp32 is faster here")
    config = check_config(run, config, logger.note)
    chosen = choose_step(config, device)
    kind = step_of(run) or chosen
    build_checked_model(config, 10)  # before images are fetched: only the classifier needs them
    with explaining_plugins():
        images = load_images(config.data, partial(listeners.tell, Listener.loading))
    plan = plan_run(config, len(images.train))
    layout = layout_of(run) or choose_layout(config, device)
    state = start_state(config, len(images.classes), device, layout)
    check_images(run, images.fingerprint)
    open_folder(run, config, images, describe_environment(device, command, layout, kind))
    resume(run, state, logger)
    step = make_step(state, config, kind, logger.note)
    counts = images.counts
    info = RunInfo(
        run=run.path,
        config=config,
        parameters=count_parameters(state.model),
        num_images=(counts["train"], counts["val"], counts["test"]),
        device=str(device),
        threads=torch.get_num_threads(),
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        epochs=plan.epochs,
        step=state.step,
        epoch=state.epoch,
        peak_learning_rate=plan.peak_learning_rate,
    )
    return _train(plan, step, images.to(device), info, logger, rebuild_view)


def _train(
    plan: RunPlan,
    step: Step,
    images: Images,
    info: RunInfo,
    logger: RunLogger,
    rebuild_view: bool,
) -> Outcome:
    state, config, run = step.state, info.config, logger.run
    stop, saved = StopSignal(), (-1, -1)
    observers = make_observers(state, images, config, plan)

    def save() -> None:
        nonlocal saved
        logger.keep_rows(observers)
        if saved != (state.epoch, state.step):  # else the state before would be lost for nothing
            logger.clock.note_save()
            notes = {"spent": logger.clock.spent()}
            save_state(state, run.checkpoint, notes, read_tables(run))
            saved = (state.epoch, state.step)

    def after_batch() -> None:
        logger.progress(state)
        if logger.clock.save_is_due():
            save()
        stop.raise_if_set()

    with stop.listening():  # before it is told: who knows that a run trains may stop it
        logger.started(state, info)
        try:
            for row in fit(step, images, config, plan, observers, after_batch):
                logger.epoch(row, observers, state)
                save()
                stop.raise_if_set()
            measured = _measure_finished(state, images, config, stop)
        except Diverged as divergence:
            logger.keep_rows(observers)
            measured = {"diverged_at_step": divergence.step}
        except Interrupted:
            save()
            logger.interrupted(state)
            raise
        result = make_result(run, config, state, measured, logger.clock.spent()["seconds"])
        if result["status"] == "done":
            keep_weights(state, run.checkpoint)
        write_json(run.result, result)  # with it on disk, the run is over
        _close(run, result, rebuild_view)
        logger.finished(result)
    return Outcome(run, result["status"], result, stop.signum)


def _measure_finished(
    state: TrainState, images: Images, config: ExperimentConfig, stop: StopSignal
) -> dict[str, Any]:
    """Look at the test images, once; in a probed run at the training images in the same way."""
    loss, accuracy = evaluate(state.model, images.test, images, config.precision, stop.raise_if_set)
    if not math.isfinite(loss):
        raise Diverged(state.step)
    measured = {"test_accuracy": accuracy, "test_loss": loss}
    if config.probe.points:
        _, measured["clean_train_accuracy"] = evaluate(
            state.model, images.train, images, config.precision, stop.raise_if_set
        )
    if config.evaluation.population_images:
        measured |= evaluate_with_other_statistics(
            state.model, images, config, accuracy, stop.raise_if_set
        )
    return measured


def _close(run: RunDir, result: dict[str, Any], rebuild_view: bool) -> None:
    """Do what follows from a result: the view, the status, and no saved states any more."""
    if rebuild_view:
        write_results_view(run.path.parent)
    drop_states(run.checkpoint)
    step = result["diverged_at_step"]
    write_status(run, result["status"], **({} if step is None else {"step": step}))
