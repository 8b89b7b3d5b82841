"""AlexNet for 32×32 images, a norm after each of its five convolutions.

Widths 64-192-384-256-256 and the 4096-4096 head are those of the one-column network of
Krizhevsky, 2014 (https://arxiv.org/abs/1404.5997), which torchvision has; the network itself is
Krizhevsky, Sutskever & Hinton, 2012. Departures, all from the smaller image: the first
convolution is 3×3 with stride 2 (11×11 with stride 4) and the second 3×3 (5×5), so that maps
are 16², 8² and 4²; pools are 2×2 (overlapping 3×3 windows need padding on such maps);
the norms under study stand in the place of local response normalization. Dropout acts on the
outputs of the two dense layers, as in 2012; torchvision's acts on their inputs.
"""

from collections import OrderedDict

from torch import nn

from nnexp.models.parts import scale_channels
from nnexp.norms import Norms
from nnexp.settings import ModelConfig

CONVS = (  # channels, stride, whether a pool follows
    (64, 2, True),
    (192, 1, True),
    (384, 1, False),
    (256, 1, False),
    (256, 1, True),
)
HEAD_WIDTH = 4096


def alexnet(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return five convolutions and two dense layers of 4096 with dropout, for 32×32 images."""
    layers = OrderedDict[str, nn.Module]()
    num_in = 3
    for index, (channels, stride, pooled) in enumerate(CONVS, 1):
        block = norms.for_block(f"conv{index}")
        num_out = scale_channels(channels, config.width)
        layers[f"conv{index}"] = block.conv_norm_act(num_in, num_out, 3, stride=stride)
        if pooled:
            layers[f"pool{index}"] = nn.MaxPool2d(2)
        num_in = num_out
    layers["flatten"] = nn.Flatten()
    num_in *= 2 * 2
    for index in (6, 7):
        num_out = scale_channels(HEAD_WIDTH, config.width)
        layers[f"dense{index}"] = nn.Linear(num_in, num_out)
        layers[f"act{index}"] = nn.ReLU(inplace=True)
        layers[f"dropout{index}"] = nn.Dropout(config.dropout)
        num_in = num_out
    layers["classifier"] = nn.Linear(num_in, num_classes)
    return nn.Sequential(layers)
