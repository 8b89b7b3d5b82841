"""Norms beside the layers that timm has of the same papers, in float64, with all gradients."""

import pytest
import torch
from tables import norm_config
from timm.layers import EvoNorm2dB0, EvoNorm2dS0, FilterResponseNormTlu2d, RmsNorm2d
from timm.layers.std_conv import ScaledStdConv2d, StdConv2d
from timm.models.nfnet import _nonlin_gamma

from nnexp.norms import make_norms
from nnexp.norms.scaled_ws import RELU_GAIN, ScaledStandardizedConv2d
from nnexp.norms.weight_standardization import EPS, StandardizedConv2d

C, GROUPS = 8, 2
NAMES = {"running_var": "running_var", "threshold": "tau"}  # ours where timm's differ


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def ours_of(norm):
    config = norm_config(norm, eps=1e-2, num_groups=GROUPS, momentum=0.3)
    return make_norms(config).for_block("block").norm(C, activated=True).double()


def shared(ours, theirs):
    """Give two layers the same random parameters; return them in pairs."""
    named = dict(theirs.named_parameters())
    pairs = [(one, named.pop(NAMES.get(name, name))) for name, one in ours.named_parameters()]
    assert not named
    with torch.no_grad():
        for mine, other in pairs:
            mine.copy_(other.uniform_(0.5, 1.5).view_as(mine))
    return pairs


def assert_same(ours, theirs, pairs, x):
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = ours(mine), theirs(other)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-7)  # timm's sums are in float32
    d_y = torch.randn_like(y)
    y.backward(d_y), expected.backward(d_y)
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-6)
    for one, two in pairs:
        torch.testing.assert_close(one.grad, two.grad.view_as(one), rtol=1e-5, atol=1e-5)


def maps():
    return torch.randn(6, C, 5, 4).double() * 2 + torch.randn(1, C, 1, 1).double()


@pytest.mark.parametrize(
    ("norm", "theirs"),
    [
        ("evonorm_s0", EvoNorm2dS0(C, groups=GROUPS, eps=1e-2)),
        ("evonorm_b0", EvoNorm2dB0(C, momentum=0.3, eps=1e-2)),
        ("frn", FilterResponseNormTlu2d(C, eps=1e-2)),
        ("rms", RmsNorm2d(C, eps=1e-2)),
    ],
)
def test_norm_is_timms_in_training_and_evaluation(norm, theirs):
    ours, theirs = ours_of(norm), theirs.double()
    pairs = shared(ours, theirs)
    for _ in range(3):
        assert_same(ours, theirs, pairs, maps())
    if norm == "evonorm_b0":
        torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-6, atol=0)
    assert_same(ours.eval(), theirs.eval(), pairs, maps())


@pytest.mark.parametrize(
    ("kind", "of_timm", "eps"),
    [(StandardizedConv2d, StdConv2d, EPS), (ScaledStandardizedConv2d, ScaledStdConv2d, 1e-12)],
)
def test_standardized_convolution_is_timms(kind, of_timm, eps):
    ours = kind(C, 12, 3, padding=1).double()
    theirs = of_timm(C, 12, 3, bias=True, eps=eps).double()
    assert_same(ours, theirs, shared(ours, theirs), maps())


def test_gain_of_relu_is_timms():
    # Which was measured on random numbers by the authors' code; ours is the paper's formula.
    assert pytest.approx(_nonlin_gamma["relu"], rel=1e-3) == RELU_GAIN
