"""What of a network stays in float32 while `torch.autocast` runs the rest in bfloat16."""

import torch
from torch import Tensor, nn

from nnexp.norms import keep_norms_in_fp32
from nnexp.norms.channels_last import without_autocast


def prepare_for_bf16(model: nn.Module) -> None:
    """Make a network fit for training under `torch.autocast` in bfloat16.

    Every norm computes in float32 (`norms.keep_norms_in_fp32`), and on a CPU every depthwise
    convolution does: of PyTorch's kernels for bfloat16 those with a stride or a filter of 5×5 take
    2.6 to 46 times as long as a float32 convolution with its casts. Both answer in bfloat16.
    """
    keep_norms_in_fp32(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            in_fp32 = _DepthwiseInFloat32()
            layer.register_forward_pre_hook(in_fp32.widen)
            layer.register_forward_hook(in_fp32.narrow, always_call=True)


class _DepthwiseInFloat32:
    """The two hooks of one layer: between them autocast is off if it was on for the CPU."""

    def __init__(self) -> None:
        self._entered: torch.autocast | None = None

    def widen(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x_NCHW,) = inputs
        if x_NCHW.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return inputs
        self._entered = without_autocast()
        self._entered.__enter__()
        return (x_NCHW.float(),)

    def narrow(
        self, layer: nn.Module, inputs: tuple[Tensor, ...], y_NCHW: Tensor | None
    ) -> Tensor | None:
        """Turn autocast on again; there is no output where the convolution failed."""
        if self._entered is None:
            return y_NCHW
        self._entered.__exit__(None, None, None)
        self._entered = None
        return None if y_NCHW is None else y_NCHW.to(torch.get_autocast_dtype("cpu"))
