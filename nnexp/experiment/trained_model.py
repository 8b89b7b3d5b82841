"""A finished run's folder → its network, ready to classify pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nnexp.compare import find_run
from nnexp.data import describe_images, load_images, normalized
from nnexp.experiment.checkpoint import WEIGHTS
from nnexp.experiment.resume import check_images, layout_of
from nnexp.models.precision import prepare_for_bf16
from nnexp.rundir import RunDir, UnreadableError, read_config, read_object
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.settings.plugins import load_plugins
from nnexp.settings.values import as_list, is_number
from nnexp.training import EVALUATION_BATCH, build_checked_model, lay_out, precision


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A network as its run left it, in evaluation mode: norms use their stored statistics."""

    config: ExperimentConfig
    model: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, float, float]  # of each channel of the training images, 0 to 1
    std: tuple[float, float, float]

    def normalize(self, images_NCHW: Tensor) -> Tensor:
        """Return uint8 images (N, 3, 32, 32) as the float32 images that the network was given.

        Raises:
            ConfigError: They are no tensor, of another size, or of another type, such as float32
                from 0 to 1.
        """
        _check_images(images_NCHW)
        return normalized(images_NCHW, self.mean, self.std)

    @torch.inference_mode()
    def predict(self, images_NCHW: Tensor) -> Tensor:
        """Return the probability of each class, (N, classes), for uint8 images (N, 3, 32, 32).

        Raises:
            ConfigError: As `normalize`.
        """
        _check_images(images_NCHW)
        with precision(self.config.precision, images_NCHW.device):
            logits = [
                self.model(self.normalize(part)).float()
                for part in images_NCHW.split(EVALUATION_BATCH)
            ]
        return torch.cat(logits).softmax(dim=1)


def _check_images(images: object) -> None:
    if not isinstance(images, Tensor):
        raise ConfigError(
            f"images cannot be of type {type(images).__name__}",
            "give a tensor: torch.as_tensor(images)",
        )
    if images.dtype != torch.uint8:
        raise ConfigError(
            f"images cannot be of type {images.dtype}",
            "give whole numbers from 0 to 255: images.to(torch.uint8)",
        )
    if images.shape[1:] != (3, 32, 32):
        raise ConfigError(
            f"images cannot be of shape {tuple(images.shape)}",
            "give (N, 3, 32, 32): channels before rows and columns, resized to 32×32",
        )


def load_model(run: RunDir | Path | str, *, plugins: Sequence[str] = ()) -> TrainedModel:
    """Return the network that a finished run has trained, on the CPU.

    A run from before there was an `images.json` needs the images that it was trained on.

    Args:
        run: Its folder, or its name where the folder is in `runs/`.
        plugins: Python files or modules that the run needs; a run folder never imports code.

    Raises:
        ConfigError: There is no such run, it holds no trained network, or the network cannot be
            built again.
    """
    load_plugins(as_list(plugins))
    folder = run if isinstance(run, RunDir) else find_run(str(run))
    config = read_config(folder)
    if config is None:
        raise ConfigError(f"{folder.path} is not the folder of a run", "it needs a config.yaml")
    weights = folder.checkpoint / WEIGHTS
    if not weights.exists():
        raise ConfigError(
            f"{folder.path} holds no trained network: {weights.name} is missing",
            "a run leaves it when it is done: give its command again to finish it",
        )
    images = _images_of(folder, config)
    try:
        model = build_checked_model(config, len(images["classes"]))
    except ConfigError as error:
        if not config.code:
            raise
        named = "; ".join(f"{entry}: {source}" for entry, source in config.code.items())
        raise ConfigError(
            f"{folder.path} needs code of a plug-in ({named}): {error.problem}",
            "name its file: load_model(run, plugins=[FILE])",
        ) from error
    if config.precision == "bf16":
        prepare_for_bf16(model)
    lay_out(model, layout_of(folder) or "nchw", config)
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise UnreadableError(weights, str(error).splitlines()[0]) from error
    return TrainedModel(
        config=config,
        model=model.eval(),
        classes=tuple(images["classes"]),
        mean=tuple(images["mean"]),
        std=tuple(images["std"]),
    )


def _images_of(run: RunDir, config: ExperimentConfig) -> Mapping[str, Any]:
    """Return the contents of `images.json`, or what they would be."""
    if (record := read_object(run.images)) is not None:
        if not _is_complete(record):
            raise UnreadableError(run.images, "it does not hold classes, mean and std")
        return record
    try:
        images = load_images(config.data)
    except ConfigError as error:
        raise ConfigError(
            f"{run.path} has no images.json, and its images cannot be loaded: {error.problem}",
            error.remedy,
        ) from error
    check_images(run, images.fingerprint)
    return describe_images(images)


def _is_complete(record: Mapping[str, Any]) -> bool:
    classes, numbers = record.get("classes"), (record.get("mean"), record.get("std"))
    return (
        isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and all(isinstance(one, list) and len(one) == 3 for one in numbers)
        and all(is_number(value) for one in numbers for value in one or ())
    )
