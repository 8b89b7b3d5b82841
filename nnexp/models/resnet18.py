"""ResNet-18 for 32×32 images: four stages of two residual blocks, a norm after each convolution.

He, Zhang, Ren & Sun, 2015 (https://arxiv.org/abs/1512.03385), widths 64-128-256-512, with the
shortcuts of torchvision's `resnet18`: 1×1 convolution and norm where the shape changes.
Departure: the stem is a 3×3 convolution with stride 1 and no pool follows it, so that the maps
are 32², 16², 8² and 4²; the paper's stem would leave the last stage a single position.
The last γ of a branch starts at 1, as in the paper, for every norm alike.
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

WIDTHS = (64, 128, 256, 512)
BLOCKS_PER_STAGE = 2


class BasicBlock(nn.Module):
    """Two 3×3 convolutions added to a shortcut: y = ReLU(F(x) + x), NCHW to NCHW."""

    def __init__(
        self, layers: BlockLayers, num_in: int, num_out: int, stride: int, drop_chance: float
    ) -> None:
        super().__init__()
        self.conv1 = layers.conv_norm_act(num_in, num_out, 3, stride=stride)
        self.conv2 = layers.conv_norm_act(num_out, num_out, 3, activation=None)
        self.drop = StochasticDepth(drop_chance)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.shortcut = layers.conv_norm_act(num_in, num_out, 1, stride=stride, activation=None)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output maps."""
        branch_NCHW = self.drop(self.conv2(self.conv1(x_NCHW)))
        return self.act(branch_NCHW + self.shortcut(x_NCHW))


def resnet18(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return ResNet-18 with a stem for 32×32 images."""
    num_in = scale_channels(WIDTHS[0], config.width)
    layers = OrderedDict[str, nn.Module](stem=norms.for_block("stem").conv_norm_act(3, num_in, 3))
    drop_chances = iter(stochastic_depths(config.stochastic_depth, len(WIDTHS) * BLOCKS_PER_STAGE))
    for stage, channels in enumerate(WIDTHS, 1):
        num_out = scale_channels(channels, config.width)
        for index in range(1, BLOCKS_PER_STAGE + 1):
            block = f"stage{stage}_block{index}"
            stride = 2 if stage > 1 and index == 1 else 1
            layers[block] = BasicBlock(
                norms.for_block(block), num_in, num_out, stride, next(drop_chances)
            )
            num_in = num_out
    layers["pool"] = GlobalAveragePool()
    layers["dropout"] = nn.Dropout(config.dropout)
    layers["classifier"] = nn.Linear(num_in, num_classes)
    return nn.Sequential(layers)
