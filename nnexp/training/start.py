"""Settings → the network and its optimizer as they are before the first step."""

import torch
from torch import nn

from nnexp.models import build_model
from nnexp.models.init import initialize
from nnexp.models.precision import prepare_for_bf16
from nnexp.models.sketch import IMAGE_SIZE
from nnexp.norms import find_sites, make_norms
from nnexp.norms.sites import evaluate_blank_images
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.settings.tables import additions
from nnexp.training.layout import choose_layout, lay_out
from nnexp.training.optimizer import build_optimizer
from nnexp.training.schedule import peak_learning_rate
from nnexp.training.state import TrainState


def start_state(
    config: ExperimentConfig, num_classes: int, device: torch.device, layout: str | None = None
) -> TrainState:
    """Build the network and its optimizer as they are before the first step.

    Args:
        config: The settings.
        num_classes: Outputs of the classifier.
        device: Where to train.
        layout: Of feature maps, nchw or nhwc; None for the one that the settings choose.

    Raises:
        ConfigError: A norm cannot work at one of the network's sites.
    """
    model = build_checked_model(config, num_classes)
    initialize(model, config.init, config.seed)
    if config.precision == "bf16":
        prepare_for_bf16(model)
    model.to(device)
    lay_out(model, layout or choose_layout(config, device), config)
    peak = peak_learning_rate(config.optimizer, config.batch_size)
    return TrainState(model, build_optimizer(model, config.optimizer, peak), device)


def build_checked_model(config: ExperimentConfig, num_classes: int) -> nn.Module:
    """Return the network, after every norm site was found able to work.

    Raises:
        ConfigError: A norm cannot work at one of the network's sites, or a user's own model has no
            place for norms or not one output for each class.
    """
    model = build_model(
        config.model, num_classes, make_norms(config.norm, config.batch_size), config.init
    )
    sites = find_sites(model, config.batch_size)
    if config.model.name in additions("model"):
        _check_own_model(model, config, num_classes, has_sites=bool(sites))
    return model


def _check_own_model(
    model: nn.Module, config: ExperimentConfig, num_classes: int, *, has_sites: bool
) -> None:
    name, norm = config.model.name, config.norm.name
    if not has_sites and norm != "none":
        raise ConfigError(
            f"model={name} has no norm layer from the settings: norm={norm} would change nothing",
            "build its norms with the argument norms, or return replace_norms(model, norms)",
        )
    output = evaluate_blank_images(model, IMAGE_SIZE)
    shape = tuple(output.shape) if hasattr(output, "shape") else None
    if shape != (2, num_classes):
        returned = type(output).__name__ if shape is None else f"the shape {shape}"
        raise ConfigError(
            f"model={name} returns {returned} for 2 images of {num_classes} classes",
            f"it needs one value for each class: (2, {num_classes})",
        )


def count_parameters(model: nn.Module) -> int:
    """Return the number of learned values."""
    return sum(parameter.numel() for parameter in model.parameters())
