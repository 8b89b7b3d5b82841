"""The smallest fully connected network: one hidden layer, normalized over or within its features.

A teaching example with one norm site, no paper's network. Its features are N×F×1×1 maps to the
norm, so that every norm comes from the same builder; batch norm there is BatchNorm1d.
"""

from collections import OrderedDict

from torch import nn

from nnexp.models.parts import scale_channels
from nnexp.norms import Norms
from nnexp.settings import ModelConfig


def simple_mlp(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return flatten, linear 3072→256, norm, ReLU and linear for 32×32 images."""
    features = scale_channels(256, config.width)
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden=norms.for_block("hidden").linear_norm_act(3 * 32 * 32, features),
            dropout=nn.Dropout(config.dropout),
            classifier=nn.Linear(features, num_classes),
        )
    )
