"""A pytest plugin that adds a user's norms and a user's model to the tables.

`pytest -p own_entries` runs the tests of the tables for these entries, and every test that is
not about a single entry. What is about an entry of nnexp's own has been run without the plugin,
and so has what compares one of its models with torchvision's. One of the norms meets every model;
the others have relatives among nnexp's own that do, and meet a few.
"""

from itertools import pairwise

import pytest
import rms_norm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from nnexp.models import MODELS
from nnexp.norms import NORMS, NormKind, NormSpec, Statistic, replace_norms


class FilterResponseNorm(nn.Module):
    """max(γ x / √(mean of x² over the map + ε) + β, τ), Singh & Krishnan, arXiv:1911.09737."""

    def __init__(self, spec: NormSpec) -> None:
        super().__init__()
        self.eps, shape = spec.eps, (spec.channels, 1, 1)
        self.weight = nn.Parameter(torch.ones(shape)) if spec.affine else None
        self.bias = nn.Parameter(torch.zeros(shape)) if spec.affine else None
        self.threshold = nn.Parameter(torch.zeros(shape)) if spec.activated else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = x_NCHW * (x_NCHW.square().mean((2, 3), keepdim=True) + self.eps).rsqrt()
        if self.weight is not None:
            y_NCHW = self.weight * y_NCHW + self.bias
        return y_NCHW if self.threshold is None else torch.maximum(y_NCHW, self.threshold)


class StandardizedConv2d(nn.Conv2d):
    """A convolution by weights of mean 0 and variance 1, Qiao et al., 2019, arXiv:1903.10520."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        rows = self.weight.flatten(1)
        weight = F.layer_norm(rows, rows.shape[1:]).view_as(self.weight)
        return self._conv_forward(x_NCHW, weight, self.bias)


class GhostNorm(nn.BatchNorm2d):
    """BatchNorm of each four images on their own, Hoffer et al., 2017, arXiv:1705.08741."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_NCHW)
        return torch.cat([super(GhostNorm, self).forward(x) for x in x_NCHW.split(4)])


class DynamicTanh(nn.Module):
    """γ tanh(α x) + β, Zhu et al., 2025, arXiv:2503.10622."""

    def __init__(self, spec: NormSpec) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(1.0))  # 0.5 would halve the signal in each block
        self.weight = nn.Parameter(torch.ones(spec.channels)) if spec.affine else None
        self.bias = nn.Parameter(torch.zeros(spec.channels)) if spec.affine else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = torch.tanh(self.alpha * x_NCHW)
        if self.weight is None:
            return y_NCHW
        return y_NCHW * self.weight[:, None, None] + self.bias[:, None, None]


def ghost_norm(spec: NormSpec) -> nn.Module:
    return GhostNorm(spec.channels, eps=spec.eps, momentum=spec.momentum, affine=spec.affine)


def small_torchvision(config, num_classes, norms):
    """Return a chain of torchvision's blocks of convolution, norm and ReLU, with nnexp's norms."""
    widths = (3, 8, 16, 32)
    blocks = [Conv2dNormActivation(i, o, stride=2) for i, o in pairwise(widths)]
    head = [nn.Flatten(), nn.Linear(widths[-1] * 4 * 4, num_classes)]
    return replace_norms(nn.Sequential(*blocks, *head), norms)


NORMS |= {
    "rms_chw": rms_norm.RMS,
    "own_frn": NormKind(
        build=FilterResponseNorm,
        statistic=Statistic(over="HW", per="channel and image", centred=False),
        own_activation=True,
    ),
    "standardized": NormKind(
        build=lambda spec: nn.GroupNorm(spec.groups, spec.channels, spec.eps, spec.affine),
        statistic=NORMS["group"].statistic,
        convolution=StandardizedConv2d,
    ),
    "own_ghost": NormKind(
        build=ghost_norm,
        statistic=Statistic(
            over="NHW", per="channel and chunk", stored=True, chunk=lambda config: 4
        ),
    ),
    "own_tanh": NormKind(build=DynamicTanh),
}
MODELS["small_torchvision"] = small_torchvision
OWN = {"rms_chw", "own_frn", "standardized", "own_ghost", "own_tanh", "small_torchvision"}
FEW = {"small_torchvision", "baseline", "simple_mlp", "resnet20", "convnext_tiny"}  # models


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about an entry of nnexp's own."""
    kept = [item for item in items if _concerns_own_entries(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _concerns_own_entries(item: pytest.Item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    named = {parameters[key] for key in ("norm", "model") if isinstance(parameters.get(key), str)}
    if not named:
        return "torchvision" not in item.name
    model, norm = parameters.get("model"), parameters.get("norm")
    return bool(named & OWN) and (norm in (None, "rms_chw") or model in (None, *FEW))
