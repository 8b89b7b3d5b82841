"""ResNet-18 for 32×32 images: four stages of two residual blocks, a norm after each convolution.

He, Zhang, Ren & Sun, 2015 (https://arxiv.org/abs/1512.03385), widths 64-128-256-512, with the
shortcuts of torchvision's `resnet18`: 1×1 convolution and norm where the shape changes.
Departure: the stem is a 3×3 convolution with stride 1 and no pool follows it, so that the maps
are 32², 16², 8² and 4²; the paper's stem would leave the last stage a single position.
The last γ of a branch starts at 1, as in the paper, for every norm alike.
"""

from torch import nn

from nnexp.models.residual import residual_network
from nnexp.norms import BlockLayers, Norms
from nnexp.settings import ModelConfig


def resnet18(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return ResNet-18 with a stem for 32×32 images."""
    return residual_network(
        config,
        num_classes,
        norms,
        widths=(64, 128, 256, 512),
        blocks_per_stage=2,
        shortcut=_projection,
    )


def _projection(layers: BlockLayers, num_in: int, num_out: int, stride: int) -> nn.Module:
    return layers.conv_norm_act(num_in, num_out, 1, stride=stride, activation=None)
