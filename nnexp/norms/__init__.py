"""The norms: a table of kinds, a builder that models ask for layers, and the sites they end at."""

from nnexp.norms.builder import BlockLayers, Norms, make_norms, relu
from nnexp.norms.kinds import NORMS, NormKind, NormSpec
from nnexp.norms.layers import ChannelLayerNorm, NoNorm
from nnexp.norms.precision import keep_norms_in_fp32
from nnexp.norms.replace import replace_norms
from nnexp.norms.sites import Site, find_sites, norm_layers, parts_of_norms, spec_of
from nnexp.norms.statistic import Statistic
from nnexp.norms.weight_standardization import StandardizedConv2d

__all__ = [
    "NORMS",
    "BlockLayers",
    "ChannelLayerNorm",
    "NoNorm",
    "NormKind",
    "NormSpec",
    "Norms",
    "Site",
    "StandardizedConv2d",
    "Statistic",
    "find_sites",
    "keep_norms_in_fp32",
    "make_norms",
    "norm_layers",
    "parts_of_norms",
    "relu",
    "replace_norms",
    "spec_of",
]
