from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from nnexp.norms.reference import STATISTIC_AXES, ReferenceNorm

KINDS = list(STATISTIC_AXES)
N, C, H, W, GROUPS = 3, 6, 4, 5, 2


class LayerOverChannels(nn.LayerNorm):
    """PyTorch's layer norm, at each position of NCHW."""

    def forward(self, input):
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_pair(kind, *, affine=True, dtype=torch.float64):
    """Return our layer and PyTorch's, with the same random γ and β."""
    ours = ReferenceNorm(kind, C, num_groups=GROUPS, affine=affine)
    if affine:
        with torch.no_grad():
            ours.weight.normal_(mean=1, std=0.5)
            ours.bias.normal_()
    theirs = {
        "batch": lambda: nn.BatchNorm2d(C, affine=affine),
        "layer": lambda: LayerOverChannels(C, elementwise_affine=affine),
        "layer_chw": lambda: nn.GroupNorm(1, C, affine=affine),
        "instance": lambda: nn.InstanceNorm2d(C, affine=affine),
        "group": lambda: nn.GroupNorm(GROUPS, C, affine=affine),
    }[kind]()
    theirs.load_state_dict(ours.state_dict())
    return ours.to(dtype), theirs.to(dtype)


def make_images(dtype=torch.float64, shape=(N, C, H, W)):
    """Return values whose mean and variance differ by sample, channel and position."""
    spread = torch.rand(shape[:2]).add(0.5)[:, :, None, None]
    return (torch.randn(shape) * spread + torch.randn(shape[1:])).to(dtype)


def values_and_gradients(layer, x, d_y):
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(d_y)
    return {"y": y.detach(), "x": x.grad} | {k: p.grad for k, p in layer.named_parameters()}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_agree_with_the_layers_of_pytorch(kind, dtype, affine):
    ours, theirs = make_pair(kind, affine=affine, dtype=dtype)
    x, d_y = make_images(dtype), torch.randn(N, C, H, W, dtype=dtype)
    expected = values_and_gradients(theirs, x, d_y)
    assert len(expected) == (4 if affine else 2)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(
        values_and_gradients(ours, x, d_y), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_running_statistics_and_evaluation_follow_batchnorm2d_over_several_steps(dtype, affine):
    ours, theirs = make_pair("batch", affine=affine, dtype=dtype)
    for _ in range(5):
        x = make_images(dtype)
        ours(x)
        theirs(x)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), **close)
    assert ours.num_batches_tracked == 5

    ours.eval()
    theirs.eval()
    x, d_y = make_images(dtype), torch.randn(N, C, H, W, dtype=dtype)
    close = {"rtol": 10 * tolerance, "atol": 10 * tolerance}
    torch.testing.assert_close(
        values_and_gradients(ours, x, d_y), values_and_gradients(theirs, x, d_y), **close
    )
    assert ours.num_batches_tracked == 5


@pytest.mark.parametrize(
    ("kind", "training"), [*((kind, True) for kind in KINDS), ("batch", False)]
)
def test_hand_derived_gradients_agree_with_finite_differences(kind, training):
    norm = ReferenceNorm(kind, 4, num_groups=2).double()
    norm(make_images(shape=(2, 4, 2, 3)))  # so that stored statistics are not 0 and 1
    norm.train(training)

    def forward(x, weight, bias):
        return functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    inputs = (make_images(shape=(2, 4, 2, 3)), torch.randn(4).double(), torch.randn(4).double())
    assert torch.autograd.gradcheck(forward, [value.requires_grad_() for value in inputs])


# The set that the value at n, c, h, w is normalized with: does it hold the value at a, b, i, j?
SHARES_STATISTIC = {
    "batch": lambda n, c, h, w, a, b, i, j: c == b,
    "layer": lambda n, c, h, w, a, b, i, j: (n, h, w) == (a, i, j),
    "layer_chw": lambda n, c, h, w, a, b, i, j: n == a,
    "instance": lambda n, c, h, w, a, b, i, j: (n, c) == (a, b),
    "group": lambda n, c, h, w, a, b, i, j: (n, c // 2) == (a, b // 2),  # 4 channels, 2 groups
}


@pytest.mark.parametrize("kind", KINDS)
def test_forward_agrees_with_loops_over_single_values(kind):
    norm = ReferenceNorm(kind, 4, num_groups=2, eps=0.1).double()
    gamma, beta = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.0, 1.0, -1.0, 0.25])
    norm.load_state_dict(
        {"weight": torch.tensor(gamma), "bias": torch.tensor(beta)}, strict=kind != "batch"
    )
    x = np.random.default_rng(0).normal(1.0, 2.0, (2, 4, 2, 3))
    expected = np.empty_like(x)
    places = list(product(range(2), range(4), range(2), range(3)))
    for place in places:
        members = [x[other] for other in places if SHARES_STATISTIC[kind](*place, *other)]
        mean = sum(members) / len(members)
        variance = sum((value - mean) ** 2 for value in members) / len(members)
        x_hat = (x[place] - mean) / (variance + 0.1) ** 0.5
        expected[place] = gamma[place[1]] * x_hat + beta[place[1]]
    actual = norm(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_group_with_one_channel_a_group_is_instance():
    x = make_images()
    torch.testing.assert_close(
        ReferenceNorm("group", C, num_groups=C)(x), ReferenceNorm("instance", C)(x)
    )


def test_group_with_one_group_is_layer_chw_and_not_layer():
    x = make_images()
    one_group = ReferenceNorm("group", C, num_groups=1)(x)
    torch.testing.assert_close(one_group, ReferenceNorm("layer_chw", C)(x))
    assert (one_group - ReferenceNorm("layer", C)(x)).abs().max() > 0.1


def test_batch_in_training_with_one_sample_is_instance():
    x = make_images(shape=(1, C, H, W))
    torch.testing.assert_close(ReferenceNorm("batch", C)(x), ReferenceNorm("instance", C)(x))


def test_one_step_of_momentum_1_stores_the_mean_and_the_unbiased_variance_of_the_batch():
    norm, x = ReferenceNorm("batch", C, momentum=1.0).double(), make_images()
    y = norm(x)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3), correction=1))
    # The variance that normalizes is the biased one: by it, that of y is 1, but for ε.
    torch.testing.assert_close(
        y.detach().var((0, 2, 3), correction=0), torch.ones(C).double(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_of_an_image_does_not_depend_on_the_batch_it_sits_in(kind):
    norm = ReferenceNorm(kind, C, num_groups=GROUPS)
    norm(make_images())
    norm.eval()
    x = make_images()
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]), rtol=1e-12, atol=1e-12)


def test_evaluation_leaves_the_stored_statistics_alone():
    norm = ReferenceNorm("batch", C).eval()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(make_images())
    torch.testing.assert_close(dict(norm.state_dict()), before, rtol=0, atol=0)


def test_running_statistics_are_updated_in_place():
    norm = ReferenceNorm("batch", C)
    addresses = [buffer.data_ptr() for buffer in norm.buffers()]
    norm(make_images())
    assert [buffer.data_ptr() for buffer in norm.buffers()] == addresses
    assert [buffer.dtype for buffer in norm.buffers()] == [
        torch.float32,
        torch.float32,
        torch.int64,
    ]


def test_state_moves_to_batchnorm2d_and_back():
    ours, theirs, back = ReferenceNorm("batch", C), nn.BatchNorm2d(C), ReferenceNorm("batch", C)
    nn.init.normal_(ours.weight)
    ours(make_images())
    theirs.load_state_dict(ours.state_dict())
    back.load_state_dict(theirs.state_dict())
    x = make_images(torch.float32)
    expected = ours.eval()(x)
    torch.testing.assert_close(theirs.eval()(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.eval()(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_input_is_rounded_only_once_at_the_end(kind, dtype):
    norm = ReferenceNorm(kind, C, num_groups=GROUPS)
    x = make_images(dtype) + 100  # a mean that costs float32 digits
    d_y = torch.randn(N, C, H, W).to(dtype)
    rounded = values_and_gradients(norm, x, d_y)
    exact = values_and_gradients(norm, x.double(), d_y.double())
    assert rounded["y"].dtype == rounded["x"].dtype == dtype
    torch.testing.assert_close(rounded["y"], exact["y"].to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(rounded["x"], exact["x"].to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(rounded["weight"], exact["weight"], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_changes_nothing(kind, dtype):
    norm = ReferenceNorm(kind, C, num_groups=GROUPS)
    x = make_images(dtype)
    d_y = torch.randn(N, C, H, W).to(dtype)
    plain = values_and_gradients(norm, x, d_y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(values_and_gradients(norm, x, d_y), plain, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_meta_device_passes_shapes_through(kind, training):
    with torch.device("meta"):
        norm = ReferenceNorm(kind, C, num_groups=GROUPS).train(training)
        x = torch.empty(1, C, 1, 1)
    with torch.no_grad():
        y = norm(x)
    assert (y.shape, y.device.type, y.dtype) == (x.shape, "meta", torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_input_gives_the_same_values(kind):
    norm, x = ReferenceNorm(kind, C, num_groups=GROUPS), make_images()
    d_y = torch.randn(N, C, H, W).double()
    expected = values_and_gradients(norm, x, d_y)
    strided = values_and_gradients(norm, x.to(memory_format=torch.channels_last), d_y)
    torch.testing.assert_close(strided, expected, check_stride=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_agrees_with_the_cpu_also_under_autocast(kind):
    norm, x = ReferenceNorm(kind, C, num_groups=GROUPS), make_images(torch.float32)
    d_y = torch.randn(N, C, H, W)
    expected = values_and_gradients(norm, x, d_y)
    norm.to("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        actual = values_and_gradients(norm, x.cuda(), d_y.cuda())
    actual = {name: value.cpu() for name, value in actual.items()}
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
