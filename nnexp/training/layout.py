"""The order of feature maps in memory: it decides speed and rounding, and no value otherwise."""

import torch
from torch import Tensor, nn

from nnexp.norms import norm_layers, spec_of
from nnexp.settings import ExperimentConfig

LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


def choose_layout(config: ExperimentConfig, device: torch.device) -> str:
    """Return `nchw` or `nhwc`, the same for every norm.

    `auto` is nhwc on a CPU, where convolutions are faster in it (`nnexp bench` measures it). A
    model of the user's own may rely on NCHW and keeps it.
    """
    if config.memory_format != "auto":
        return config.memory_format
    own_model = f"model.{config.model.name}" in config.code
    return "nhwc" if device.type == "cpu" and not own_model else "nchw"


def lay_out(model: nn.Module, layout: str, config: ExperimentConfig) -> None:
    """Give a model weights in a layout, so that its convolutions compute in it.

    A norm of the user's own is given maps in NCHW order all the same: it may rely on it.
    """
    if layout == "nchw":
        return
    model.to(memory_format=LAYOUTS[layout])  # pyright: ignore[reportCallIssue]
    for _, layer in norm_layers(model):
        if f"norm.{spec_of(layer).norm}" in config.code:
            layer.register_forward_pre_hook(_contiguous)


def _contiguous(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x_NCHW.contiguous() for x_NCHW in inputs)
