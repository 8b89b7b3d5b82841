"""Residual networks of basic blocks, for 32×32 images: what ResNet-18 and the CIFAR ones share."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from nnexp.models.parts import (
    GlobalAveragePool,
    StochasticDepth,
    scale_channels,
    stochastic_depths,
)
from nnexp.norms import BlockLayers, Norms
from nnexp.settings import ModelConfig

# A block's layers, its channels in and out, its stride → what x passes where the shape changes.
Shortcut = Callable[[BlockLayers, int, int, int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions added to a shortcut: y = ReLU(F(x) + x), NCHW to NCHW."""

    def __init__(
        self,
        layers: BlockLayers,
        channels: tuple[int, int],
        stride: int,
        shortcut: Shortcut,
        drop_chance: float,
    ) -> None:
        super().__init__()
        num_in, num_out = channels
        self.conv1 = layers.conv_norm_act(num_in, num_out, 3, stride=stride)
        self.conv2 = layers.conv_norm_act(num_out, num_out, 3, activation=None)
        self.drop = StochasticDepth(drop_chance)
        self.scale: nn.Module = nn.Identity()  # see models/branches.py
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.shortcut = shortcut(layers, num_in, num_out, stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output maps."""
        branch_NCHW = self.scale(self.drop(self.conv2(self.conv1(x_NCHW))))
        return self.act(branch_NCHW + self.shortcut(x_NCHW))


def residual_network(
    config: ModelConfig,
    num_classes: int,
    norms: Norms,
    *,
    widths: Sequence[int],
    blocks_per_stage: int,
    shortcut: Shortcut,
) -> nn.Module:
    """Return a 3×3 stem, a stage of basic blocks for each width, global pooling and a classifier.

    Every stage but the first halves the sides of the maps in its first block.
    """
    num_in = scale_channels(widths[0], config.width)
    layers = OrderedDict[str, nn.Module](stem=norms.for_block("stem").conv_norm_act(3, num_in, 3))
    drop_chances = iter(stochastic_depths(config.stochastic_depth, len(widths) * blocks_per_stage))
    for stage, channels in enumerate(widths, 1):
        num_out = scale_channels(channels, config.width)
        for index in range(1, blocks_per_stage + 1):
            block = f"stage{stage}_block{index}"
            stride = 2 if stage > 1 and index == 1 else 1
            layers[block] = BasicBlock(
                norms.for_block(block), (num_in, num_out), stride, shortcut, next(drop_chances)
            )
            num_in = num_out
    layers["pool"] = GlobalAveragePool()
    layers["dropout"] = nn.Dropout(config.dropout)
    layers["classifier"] = nn.Linear(num_in, num_classes)
    return nn.Sequential(layers)
