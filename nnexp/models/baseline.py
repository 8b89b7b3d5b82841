"""The baseline: three convolutions and a dense layer, what a course builds first.

Widths 32-64-128, each convolution followed by norm, ReLU and a pool; no paper's network.
The dense layer has no norm, so that the norm sites are the convolutions' alone.
"""

from collections import OrderedDict

from torch import nn

from nnexp.models.parts import scale_channels
from nnexp.norms import Norms
from nnexp.settings import ModelConfig

WIDTHS = (32, 64, 128)
DENSE_WIDTH = 256


def baseline(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return three convolutions 32-64-128, a dense layer of 256 and the classifier, for 32×32."""
    layers = OrderedDict[str, nn.Module]()
    num_in = 3
    for index, channels in enumerate(WIDTHS, 1):
        num_out = scale_channels(channels, config.width)
        layers[f"conv{index}"] = norms.for_block(f"conv{index}").conv_norm_act(num_in, num_out, 3)
        layers[f"pool{index}"] = nn.MaxPool2d(2)
        num_in = num_out
    dense_width = scale_channels(DENSE_WIDTH, config.width)
    layers["flatten"] = nn.Flatten()
    layers["dense"] = nn.Linear(num_in * 4 * 4, dense_width)
    layers["dense_act"] = nn.ReLU(inplace=True)
    layers["dropout"] = nn.Dropout(config.dropout)
    layers["classifier"] = nn.Linear(dense_width, num_classes)
    return nn.Sequential(layers)
