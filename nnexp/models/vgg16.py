"""VGG16 for 32×32 images: thirteen 3×3 convolutions in five stages, a norm after each.

Configuration D of Simonyan & Zisserman, 2014 (https://arxiv.org/abs/1409.1556), whose names
conv1_1 … conv5_3 the blocks carry; the convolutions are those of torchvision's `vgg16_bn`.
Departure: one linear layer classifies. At 32×32 the last pool leaves a single position, 512
numbers, and two dense layers of 4096 on them would be 56 % of the parameters for no purpose.
"""

from collections import OrderedDict

from torch import nn

from nnexp.models.parts import scale_channels
from nnexp.norms import Norms
from nnexp.settings import ModelConfig

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def vgg16(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return VGG16 with one linear layer as its head, for 32×32 images."""
    layers = OrderedDict[str, nn.Module]()
    num_in = 3
    for stage, (channels, num_convs) in enumerate(STAGES, 1):
        num_out = scale_channels(channels, config.width)
        for index in range(1, num_convs + 1):
            block = f"conv{stage}_{index}"
            layers[block] = norms.for_block(block).conv_norm_act(num_in, num_out, 3)
            num_in = num_out
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(config.dropout)
    layers["classifier"] = nn.Linear(num_in, num_classes)
    return nn.Sequential(layers)
