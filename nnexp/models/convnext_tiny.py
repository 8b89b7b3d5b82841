"""ConvNeXt-T for 32×32 images: 7×7 depthwise convolutions, one norm and one GELU a block.

Liu et al., 2022 (https://arxiv.org/abs/2201.03545): depths 3-3-9-3, widths 96-192-384-768,
layer scale from 1e-6, stochastic depth; a norm after the stem, in each block, before each
downsampling convolution and in the head. Departures: the stem's patches are 2×2 (4×4), so that
maps are 16², 8², 4² and 2²; the head's norm stands before the global pooling (after it), so that
no norm sees a map of a single position. InstanceNorm cannot stand there either: it would leave
every image the same means (`norm.at.head=layer` does). ε is `norm.eps` (1e-6), depthwise and stem
convolutions have a bias by `norm.conv_bias` (always), and initial weights are those of `init`
(truncated normal, 0.02). Norms here take NCHW, whatever they are; the block's two linear layers are
1×1 convolutions, which took 0.7 to 0.9 of the time of permuting and `nn.Linear` on two cores at
batch 32, forward and backward.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from nnexp.models.parts import (
    GlobalAveragePool,
    StochasticDepth,
    scale_channels,
    stochastic_depths,
)
from nnexp.norms import BlockLayers, Norms
from nnexp.settings import ModelConfig

STAGES = ((96, 3), (192, 3), (384, 9), (768, 3))  # channels, blocks
LAYER_SCALE = 1e-6


class ConvNeXtBlock(nn.Module):
    """x + γ · pointwise2(GELU(pointwise1(norm(depthwise(x))))), NCHW to NCHW."""

    def __init__(self, layers: BlockLayers, channels: int, drop_chance: float) -> None:
        super().__init__()
        self.depthwise = layers.conv_norm_act(
            channels, channels, 7, groups=channels, activation=None
        )
        self.pointwise1 = nn.Conv2d(channels, 4 * channels, 1)
        self.act = nn.GELU()
        self.pointwise2 = nn.Conv2d(4 * channels, channels, 1)
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.drop = StochasticDepth(drop_chance)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the block's output maps."""
        branch_NCHW = self.pointwise2(self.act(self.pointwise1(self.depthwise(x_NCHW))))
        return x_NCHW + self.drop(self.layer_scale * branch_NCHW)


def convnext_tiny(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return ConvNeXt-T with a stem for 32×32 images."""
    layers = OrderedDict[str, nn.Module]()
    num_in = 3
    drop_chances = iter(
        stochastic_depths(config.stochastic_depth, sum(blocks for _, blocks in STAGES))
    )
    for stage, (channels, blocks) in enumerate(STAGES, 1):
        num_out = scale_channels(channels, config.width)
        if stage == 1:
            stem = norms.for_block("stem")
            layers["stem"] = stem.conv_norm_act(3, num_out, 2, stride=2, activation=None)
        else:
            block = f"stage{stage}_downsample"
            norm = norms.for_block(block).norm(num_in)
            conv = nn.Conv2d(num_in, num_out, kernel_size=2, stride=2)
            layers[block] = nn.Sequential(OrderedDict(norm=norm, conv=conv))
        for index in range(1, blocks + 1):
            block = f"stage{stage}_block{index}"
            layers[block] = ConvNeXtBlock(norms.for_block(block), num_out, next(drop_chances))
        num_in = num_out
    head = norms.for_block("head").norm(num_in, pooled=True)
    layers["head"] = nn.Sequential(OrderedDict(norm=head))
    layers["pool"] = GlobalAveragePool()
    layers["dropout"] = nn.Dropout(config.dropout)
    layers["classifier"] = nn.Linear(num_in, num_classes)
    return nn.Sequential(layers)
