"""Where an earlier try at a run stopped: its folder checked, its newest whole state taken up."""

from dataclasses import asdict, replace
from typing import Any

from nnexp.config import ConfigError, ExperimentConfig, from_yaml, run_id, to_yaml
from nnexp.journal import Journal
from nnexp.rundir import (
    RunDir,
    RunError,
    read_json,
    replacing,
    restore_tables,
    write_json,
    write_status,
)
from nnexp.state import NEWEST, PREVIOUS, WEIGHTS, StateError, TrainState, read_state, restore_state


def check_config(run: RunDir, config: ExperimentConfig, journal: Journal) -> ExperimentConfig:
    """Return the settings to run with: those asked for, traced, probed and tagged as it began.

    A run that has saved nothing begins anew, with all that is asked for. A folder that was made
    with other settings under the same name is refused.

    Raises:
        RunError: With the way on.
    """
    if not run.config.exists() or not _has_begun(run):
        return config
    try:
        before = from_yaml(run.config.read_text("utf-8"))
    except (ConfigError, UnicodeDecodeError):
        before = None
    if before is None or run_id(before) != run.path.name:
        raise RunError(
            f"{run.config} is not the config of {run.path.name}: it was edited or is damaged; "
            "move the folder away and give the same command again"
        )
    for part in ("trace", "probe"):
        began = getattr(before, part)
        if began != getattr(config, part):
            words = " ".join(f"{part}.{key}={value}" for key, value in asdict(began).items())
            journal.note(
                f"this run began with {words} and keeps them; another runs_dir {part}s it anew"
            )
    return replace(config, trace=before.trace, probe=before.probe, tags=before.tags)


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
    run: RunDir, config: ExperimentConfig, fingerprint: str, environment: dict[str, Any]
) -> None:
    """Write what is known before the first step; a later try is added to the first one's record."""
    known = read_json(run.environment)
    if known:
        known.setdefault("resumed", []).append(environment)
        write_json(run.environment, known)
    else:
        write_json(run.environment, {**environment, "images_sha256": fingerprint})
    if not run.config.exists() or not _has_begun(run):
        with replacing(run.config) as scratch:
            scratch.write_text(to_yaml(config), "utf-8")
    write_status(run, "running")


def resume(run: RunDir, state: TrainState, journal: Journal) -> None:
    """Bring back the newest state that is whole, and the tables as they were with it."""
    for path in (run.checkpoint / NEWEST, run.checkpoint / PREVIOUS):
        if not path.exists():
            continue
        try:
            saved = read_state(path)
            restore_state(state, saved)
        except StateError as error:
            journal.note(f"{error}; trying the state before it")
            continue
        for table in restore_tables(run, saved.files):
            journal.note(f"{table} was changed after it was written; it is put back")
        if path.name == PREVIOUS:  # else the next save would put the damaged file in its place
            (run.checkpoint / NEWEST).unlink(missing_ok=True)
        journal.recall(saved.notes)
        journal.note_environment()
        return
    if run.checkpoint.exists():
        journal.note(f"no whole state in {run.checkpoint}; starting again from step 0")
    restore_tables(run, {})
