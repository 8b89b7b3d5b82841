"""EfficientNet-lite0 for 32×32 images: inverted residual blocks (MBConv), a norm per convolution.

Tan & Le, 2019 (https://arxiv.org/abs/1905.11946) in the lite variant of its authors (Liu, 2020,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite): no
squeeze-and-excitation, ReLU6 for swish. Widths 32, 16-24-40-80-112-192-320, 1280.
Departures: stride 1 in the stem, which leaves the last map 2×2; with the paper's 2 it is a
single position. Convolutions pad evenly on both sides, where TensorFlow pads a strided one
more at the end. ε is `norm.eps` (1e-3), initial weights are those of `init`, and stochastic depth
reaches its setting in the last block (15 / 16 of it). Apart from the stem and stochastic depth it
computes what timm's `efficientnet_lite0` does.
"""

from collections import OrderedDict

from torch import Tensor, nn

from nnexp.models.parts import (
    GlobalAveragePool,
    StochasticDepth,
    scale_channels,
    stochastic_depths,
)
from nnexp.norms import BlockLayers, Norms
from nnexp.settings import ModelConfig

STEM_WIDTH = 32
STAGES = (  # expansion, kernel size, stride, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
HEAD_WIDTH = 1280


def relu6() -> nn.Module:
    """Return a ReLU that stops at 6 and overwrites its input."""
    return nn.ReLU6(inplace=True)


class MBConv(nn.Module):
    """Widen 1×1, filter each channel k×k, narrow 1×1; added to the input where shapes agree."""

    def __init__(
        self,
        layers: BlockLayers,
        num_in: int,
        num_out: int,
        stage: tuple[int, int, int],
        drop_chance: float,
    ) -> None:
        super().__init__()
        expansion, kernel_size, stride = stage
        num_wide = num_in * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = layers.conv_norm_act(num_in, num_wide, 1, activation=relu6)
        self.depthwise = layers.conv_norm_act(
            num_wide, num_wide, kernel_size, stride=stride, groups=num_wide, activation=relu6
        )
        self.project = layers.conv_norm_act(num_wide, num_out, 1, activation=None)
        self.has_shortcut = stride == 1 and num_in == num_out
        self.drop = StochasticDepth(drop_chance)
        self.scale: nn.Module = nn.Identity()  # see models/branches.py

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output maps."""
        y_NCHW = self.project(self.depthwise(self.expand(x_NCHW)))
        return x_NCHW + self.scale(self.drop(y_NCHW)) if self.has_shortcut else y_NCHW


def efficientnet_lite0(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return EfficientNet-lite0 with a stem for 32×32 images."""
    num_in = scale_channels(STEM_WIDTH, config.width)
    stem = norms.for_block("stem").conv_norm_act(3, num_in, 3, activation=relu6)
    layers = OrderedDict[str, nn.Module](stem=stem)
    num_blocks = sum(blocks for *_, blocks in STAGES)
    drop_chances = iter(stochastic_depths(config.stochastic_depth, num_blocks))
    for stage, (expansion, kernel_size, stride, channels, blocks) in enumerate(STAGES, 1):
        num_out = scale_channels(channels, config.width)
        for index in range(1, blocks + 1):
            block = f"stage{stage}_block{index}"
            shape = (expansion, kernel_size, stride if index == 1 else 1)
            layers[block] = MBConv(
                norms.for_block(block), num_in, num_out, shape, next(drop_chances)
            )
            num_in = num_out
    num_out = scale_channels(HEAD_WIDTH, config.width)
    layers["head"] = norms.for_block("head").conv_norm_act(num_in, num_out, 1, activation=relu6)
    layers["pool"] = GlobalAveragePool()
    layers["dropout"] = nn.Dropout(config.dropout)
    layers["classifier"] = nn.Linear(num_out, num_classes)
    return nn.Sequential(layers)
