"""Takes a run up where an earlier try stopped: checks its folder, brings back its newest state."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from nnexp.data import Images, describe_images
from nnexp.experiment.checkpoint import (
    NEWEST,
    PREVIOUS,
    WEIGHTS,
    SavedState,
    StateError,
    read_state,
    restore_state,
)
from nnexp.experiment.environment import BEFORE, differences
from nnexp.experiment.logger import RunLogger
from nnexp.rundir import (
    RunDir,
    RunError,
    UnreadableError,
    read_config,
    read_json,
    replacing,
    restore_tables,
    write_json,
    write_status,
)
from nnexp.settings import ExperimentConfig, run_id, to_yaml
from nnexp.training import TrainState


def check_config(
    run: RunDir, config: ExperimentConfig, note: Callable[[str], None]
) -> ExperimentConfig:
    """Return the settings to run with: those asked for, traced, probed and tagged as it began.

    A run that has saved nothing begins anew, with all that is asked for. A folder that was made
    with other settings under the same name is refused.

    Raises:
        RunError: With the way on.
    """
    if not run.config.exists() or not _has_begun(run):
        return config
    try:
        before = read_config(run)
        foreign = before is not None and run_id(before) != run.path.name
    except UnreadableError:
        before, foreign = None, True
    if foreign:
        raise RunError(
            f"{run.config} is not the config of {run.path.name}: it was edited or is damaged; "
            "move the folder away and give the same command again"
        )
    if before is None:
        return config
    for part in ("trace", "probe"):
        began = getattr(before, part)
        if began != getattr(config, part):
            words = " ".join(
                f"{part}.{key}={value}".lower()
                for key, value in asdict(began).items()
                if value != getattr(getattr(config, part), key)
            )
            note(f"this run began with {words} and keeps them; use another runs_dir for others")
    return replace(config, trace=before.trace, probe=before.probe, tags=before.tags)


def layout_of(run: RunDir) -> str | None:
    """Return the layout of feature maps that a run has begun with; None where it has not begun."""
    return _began_with(run, "memory_format")


def step_of(run: RunDir) -> str | None:
    """Return how a run that has begun executes its steps; None where it has not begun."""
    return _began_with(run, "step")


def _began_with(run: RunDir, key: str) -> str | None:
    if not _has_begun(run):
        return None
    return read_json(run.environment).get(key, BEFORE[key])


def _has_begun(run: RunDir) -> bool:
    """Return whether the run has saved anything that its settings were used for."""
    states = (run.checkpoint / name for name in (NEWEST, PREVIOUS, WEIGHTS))
    return run.result.exists() or any(state.exists() for state in states)


def check_images(run: RunDir, fingerprint: str) -> None:
    """Refuse a folder whose run saw other images.

    Raises:
        RunError: With the way on.
    """
    known = read_json(run.environment).get("images_sha256")
    if known not in (None, fingerprint):
        raise RunError(
            f"{run.path} was trained on other images (sha256 {known[:12]}… then, "
            f"{fingerprint[:12]}… now); use another runs_dir for these"
        )


def open_folder(
    run: RunDir, config: ExperimentConfig, images: Images, environment: dict[str, Any]
) -> None:
    """Write what is known before the first step; a later try is added to the first one's record."""
    known = read_json(run.environment) if _has_begun(run) else {}
    if known:
        known.setdefault("resumed", []).append(environment)
        write_json(run.environment, known)
    else:
        write_json(run.environment, {**environment, "images_sha256": images.fingerprint})
        with replacing(run.config) as scratch:
            scratch.write_text(to_yaml(config), "utf-8")
    if not run.images.exists():
        write_json(run.images, describe_images(images))
    write_status(run, "running")


def resume(run: RunDir, state: TrainState, logger: RunLogger) -> None:
    """Bring back the newest state that is whole, and the tables as they were with it."""
    for path in (run.checkpoint / NEWEST, run.checkpoint / PREVIOUS):
        if not path.exists():
            continue
        try:
            saved = read_state(path)
            spent = _read_spent(saved)
            restore_state(state, saved)
        except StateError as error:
            logger.note(f"{error}; trying the state before it")
            continue
        for table in restore_tables(run, saved.files):
            logger.note(f"{table} was changed after it was written; it is restored")
        if path.name == PREVIOUS:  # else the next save would put the damaged file in its place
            (run.checkpoint / NEWEST).unlink(missing_ok=True)
        logger.clock.recall(spent)
        record = read_json(run.environment)  # the result counts what differs
        for difference in differences(record, record["resumed"][-1]):
            logger.note(f"resumed in another environment; last digits may differ ({difference})")
        return
    if run.checkpoint.exists():
        logger.note(f"no complete saved state in {run.checkpoint}; starting again from step 0")
    restore_tables(run, {})


def _read_spent(saved: SavedState) -> dict[str, float]:
    """Return the seconds of the unfinished epoch that a saved state remembers.

    Raises:
        StateError: It remembers none.
    """
    try:
        spent = saved.notes["spent"]
        return {key: float(spent[key]) for key in ("seconds", "train_seconds")}
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{saved.path} does not say how long its epoch took") from error
