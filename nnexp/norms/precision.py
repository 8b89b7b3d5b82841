"""One precision for all norms: float32 inside, whatever the convolutions compute in."""

import torch
from torch import Tensor, nn

from nnexp.norms.channels_last import GroupNorm, InstanceNorm
from nnexp.norms.layers import ChannelLayerNorm, NoNorm
from nnexp.norms.sites import norm_layers

# These take maps in bfloat16 from a CPU and compute in float32 all the same: casts of whole maps
# would double their time.
READ_BF16_ON_CPU = (nn.BatchNorm2d, ChannelLayerNorm, GroupNorm, InstanceNorm)


def keep_norms_in_fp32(model: nn.Module) -> None:
    """Make every norm layer compute in float32 and answer in the type of its input.

    For training under `torch.autocast`, which left alone runs group and layer norm in float32
    but batch norm in bfloat16: a comparison of norms would also be one of precisions.
    """
    for _, layer in norm_layers(model):
        if not isinstance(layer, NoNorm):
            in_fp32 = _InFloat32()
            layer.register_forward_pre_hook(in_fp32.widen)
            layer.register_forward_hook(in_fp32.narrow)


class _InFloat32:
    """The two hooks of one layer, and the type that the second has to restore."""

    def __init__(self) -> None:
        self._dtype = torch.float32

    def widen(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x_NCHW,) = inputs
        self._dtype = x_NCHW.dtype
        if x_NCHW.device.type == "cpu" and type(layer) in READ_BF16_ON_CPU:
            return inputs
        return (x_NCHW.float(),)

    def narrow(self, layer: nn.Module, inputs: tuple[Tensor, ...], y_NCHW: Tensor) -> Tensor:
        return y_NCHW.to(self._dtype)
