"""How long runs will take: by like runs that are finished here, else by a few steps, measured."""

import math
import time
from collections.abc import Iterable, Sequence
from functools import cache
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from nnexp.rundir import RunDir, finished_result
from nnexp.settings import ConfigError, DataConfig, ExperimentConfig, find_folder
from nnexp.settings.plugins import load_plugins_of
from nnexp.settings.values import is_number
from nnexp.sweeps.jobs import Job
from nnexp.sweeps.worker import heard_from

CIFAR_IMAGES = {"train": 50_000, "test": 10_000}
BUILT_IN = ("cifar10", "cifar100", "synthetic")  # sources of so many
FORWARD_SHARE = 1 / 3  # of a training step's work that an evaluated image takes
BUDGET = 20.0  # seconds for measuring; what does not fit goes by its like
STEPS = 2  # that are timed, after one that is not
LIKE = ("model.name", "model.width", "batch_size", "precision", "norm.name")  # of one speed
UNKNOWN_IMAGES = "the number of images is not known; name data.train_images and data.test_images"

Kind = tuple[Any, ...]  # values of LIKE


class Estimate(NamedTuple):
    """How long runs will take."""

    seconds: dict[str, float]  # of each run that can be estimated, by its name
    problem: str  # why one cannot, in one line; empty where all can


def estimate_seconds(jobs: Sequence[Job], threads: int) -> Estimate:
    """Return the seconds of each job that can be estimated.

    Finished runs beside the jobs count first; kinds of runs that none of them is like are measured
    with `threads` threads, for BUDGET seconds at most.
    """
    speeds = _finished_speeds(jobs)
    images, problem = dict[str, float | None](), ""
    for job in jobs:
        try:
            images[job.name] = num_images(job.config)
        except ConfigError as error:  # there is no such folder
            images[job.name], problem = None, error.problem
    wanted = {kind_of(job.config): job.config for job in jobs if images[job.name] is not None}
    missing = [config for kind, config in wanted.items() if kind not in speeds]
    problem = problem or (UNKNOWN_IMAGES if None in images.values() else "")
    if missing:
        for kind, found in heard_from(_measure, missing, threads):
            if isinstance(found, ConfigError):
                problem = found.problem
            else:
                speeds[kind] = found
    costs: dict[str, float] = {}
    for job in jobs:
        speed, num = nearest_speed(kind_of(job.config), speeds), images[job.name]
        if speed is not None and num is not None:
            costs[job.name] = num * speed
    return Estimate(costs, problem)


def kind_of(config: ExperimentConfig) -> Kind:
    """Return what decides how long a run's image takes."""
    return attrgetter(*LIKE)(config)


def num_images(config: ExperimentConfig) -> float | None:
    """Return the images of a whole run, those that are only evaluated by their share of the work.

    None where that is not known, as of a plug-in's source, or where no image is left to train.
    """
    data = config.data
    train, test = data.train_images, data.test_images
    if train is None or test is None:
        there = _images_of(data)
        if there is None:
            return None
        train = train or there["train"] - data.val_images
        test = test or there["test"]
    if train < 1:
        return None
    if config.epochs is not None:
        seen, epochs = train * config.epochs, config.epochs
    else:
        assert config.max_steps is not None
        seen = config.max_steps * config.batch_size
        epochs = math.ceil(seen / train)
    return seen + (data.val_images * epochs + test) * FORWARD_SHARE


def _images_of(data: DataConfig) -> dict[str, int] | None:
    """Return how many images a source has for training with validation, and for testing.

    Raises:
        ConfigError: `data.root` is not a folder.
    """
    if data.name != "folder":
        return CIFAR_IMAGES if data.name in BUILT_IN else None
    return _count_pictures(find_folder(data.root))


@cache
def _count_pictures(root: Path) -> dict[str, int]:
    """Return how many files lie in the class folders; once, however many jobs ask."""
    return {half: sum(1 for _ in root.glob(f"{half}/[!.]*/[!.]*")) for half in CIFAR_IMAGES}


def _finished_speeds(jobs: Iterable[Job]) -> dict[Kind, float]:
    """Return seconds per image of each kind of run that is finished in the jobs' folders."""
    columns = {"model.name": "model", "norm.name": "norm"}
    spent: dict[Kind, list[float]] = {}
    for folder in {job.run.path.parent for job in jobs}:
        for path in folder.glob("*/result.json"):
            result = finished_result(RunDir(path.parent))
            num = _num_images_of(result)
            if result.get("status") == "done" and num and is_number(result.get("seconds")):
                kind = tuple(result.get(columns.get(key, key)) for key in LIKE)
                spent.setdefault(kind, []).append(result["seconds"] / num)
    return {kind: sum(times) / len(times) for kind, times in spent.items()}


def _num_images_of(result: dict[str, Any]) -> float | None:
    epochs, steps = result.get("epochs_finished"), result.get("steps")
    if not (is_number(epochs) and is_number(steps) and epochs and steps):
        return None
    seen = steps * result["batch_size"]
    if result.get("data.train_images") and not result.get("max_steps"):
        seen = result["data.train_images"] * epochs
    test = result.get("data.test_images") or CIFAR_IMAGES["test"]
    evaluated = result["data.val_images"] * epochs + test
    return seen + evaluated * FORWARD_SHARE


def nearest_speed(kind: Kind, speeds: dict[Kind, float]) -> float | None:
    """Return the mean speed of the kinds that share the longest head of `kind`, model at least."""
    for length in (len(LIKE), len(LIKE) - 1, 2):
        like = [speed for one, speed in speeds.items() if one[:length] == kind[:length]]
        if like:
            return sum(like) / len(like)
    return None


def _measure(configs: Sequence[ExperimentConfig], threads: int, connection: Connection) -> None:
    """Tell seconds per image of each config, or its problem, of as many as there is time for."""
    import torch

    from nnexp.training import Step, StepSettings, choose_device, prepare_process, start_state

    until = time.monotonic() + BUDGET
    for config in configs:
        if time.monotonic() > until:
            return
        config.threads = config.threads or threads
        try:
            load_plugins_of(config)
            device = choose_device(config.device)
            prepare_process(config, device)
            state = start_state(config, 10, device)
        except ConfigError as error:
            connection.send((kind_of(config), error))
            continue
        batch = torch.randn(config.batch_size, 3, 32, 32, device=device)
        labels = torch.arange(config.batch_size, device=device) % 10
        take_step = Step(state, StepSettings(seed=0, precision=config.precision))
        state.model.train()
        take_step(batch, labels, 1e-3)
        state.first_bad_step.item()  # waits for the device
        begun = time.perf_counter()
        for _ in range(STEPS):
            take_step(batch, labels, 1e-3)
        state.first_bad_step.item()
        seconds = time.perf_counter() - begun
        connection.send((kind_of(config), seconds / STEPS / config.batch_size))
