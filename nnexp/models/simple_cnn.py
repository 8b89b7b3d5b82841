"""The smallest convolutional network: one convolution, one norm, one linear layer.

A teaching example with one norm site, no paper's network.
"""

from collections import OrderedDict

from torch import nn

from nnexp.models.parts import scale_channels
from nnexp.norms import Norms
from nnexp.settings import ModelConfig


def simple_cnn(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return convolution 3→16, norm, ReLU, pool and linear for 32×32 images."""
    channels = scale_channels(16, config.width)
    return nn.Sequential(
        OrderedDict(
            conv1=norms.for_block("conv1").conv_norm_act(3, channels, 3),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(config.dropout),
            classifier=nn.Linear(channels * 16 * 16, num_classes),
        )
    )
