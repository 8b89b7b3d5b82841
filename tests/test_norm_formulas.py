"""The norms that PyTorch lacks, each beside its formula as the paper has it, in float64."""

import copy
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tables import norm_config
from torch import nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from nnexp.norms import NORMS, make_norms
from nnexp.norms.moments import image_moments, merge_moments
from nnexp.norms.weight_standardization import StandardizedConv2d
from nnexp.settings import ConfigError
from nnexp.settings.sizes import batch_sizes

N, C, H, W, GROUPS, EPS = 5, 4, 3, 2, 2, 0.1
SETTINGS = {"eps": EPS, "num_groups": GROUPS, "batch_size": 2}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def make_layer(norm, *, activated=True, **settings):
    """Return a norm layer in float64 whose parameters all differ."""
    config = norm_config(norm, **{**SETTINGS, **settings})
    layer = make_norms(config).for_block("block").norm(C, activated=activated).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 1.5)
    return layer


def images(n=N):
    """Return maps whose mean and spread differ by image and channel."""
    spread = 0.5 + torch.rand(n, C, 1, 1)
    return (torch.randn(n, C, H, W) * spread + torch.randn(n, C, 1, 1)).double()


def numbers(layer):
    """Return parameters and buffers as NumPy's numbers."""
    return {name: value.detach().numpy().copy() for name, value in layer.state_dict().items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Each formula gives one value of y from all of x and the state p: that at a place n, c, h, w.


def group_of(x, n, c):
    size = C // GROUPS
    return x[n, c // size * size : (c // size + 1) * size]


def chunk_of(x, n, c):
    first = min(n // 2 * 2, 2)  # five images in chunks of two: the last one joins the second
    return x[first : first + (3 if first == 2 else 2), c]


def ghost(x, p, place, activated):
    n, c = place[:2]
    values = chunk_of(x, n, c)
    x_hat = (x[place] - values.mean()) / np.sqrt(values.var() + EPS)
    return p["weight"][c] * x_hat + p["bias"][c]


def group_ws(x, p, place, activated):
    n, c = place[:2]
    values = group_of(x, n, c)
    x_hat = (x[place] - values.mean()) / np.sqrt(values.var() + EPS)
    return p["weight"][c] * x_hat + p["bias"][c]


def rms(x, p, place, activated):
    n, _, h, w = place
    total = sum(x[n, k, h, w] ** 2 for k in range(C))
    return p["weight"][place[1]] * x[place] / np.sqrt(total / C + EPS)


def frn(x, p, place, activated):
    n, c = place[:2]
    nu_squared = sum(x[n, c, i, j] ** 2 for i in range(H) for j in range(W)) / (H * W)
    y = p["weight"][c] * x[place] / np.sqrt(nu_squared + EPS) + p["bias"][c]
    return max(y, p["threshold"][c]) if activated else y


def evonorm_s0(x, p, place, activated):
    n, c = place[:2]
    value = x[place]
    numerator = value * sigmoid(p["v"][c] * value) if activated else value
    return p["weight"][c] * numerator / np.sqrt(group_of(x, n, c).var() + EPS) + p["bias"][c]


def evonorm_b0(x, p, place, activated):
    n, c = place[:2]
    value, of_batch = x[place], np.sqrt(x[:, c].var() + EPS)
    if activated:
        of_image = np.sqrt(x[n, c].var() + EPS)
        of_batch = max(of_batch, p["v"][c] * value + of_image)
    return p["weight"][c] * value / of_batch + p["bias"][c]


def batch_renorm(x, p, place, activated):
    c = place[1]
    mean, std = x[:, c].mean(), np.sqrt(x[:, c].var() + EPS)
    running_std = np.sqrt(p["running_var"][c] + EPS)
    passed = p["num_batches_tracked"] / 100 - 1  # norm.renorm_steps
    r_max = 1 + 2 * min(max(passed / 7, 0), 1)
    d_max = 5 * min(max(passed / 4, 0), 1)
    r = min(max(std / running_std, 1 / r_max), r_max)
    d = min(max((mean - p["running_mean"][c]) / running_std, -d_max), d_max)
    return p["weight"][c] * ((x[place] - mean) / std * r + d) + p["bias"][c]


def dynamic_tanh(x, p, place, activated):
    c = place[1]
    return p["weight"][c] * np.tanh(p["alpha"] * x[place]) + p["bias"][c]


def switchable(x, p, place, activated):
    n, c = place[:2]
    sets = (x[n, c], x[n], x[:, c])
    shares = [np.exp(p[name]) / np.exp(p[name]).sum() for name in SHARES]
    mean = sum(share * values.mean() for share, values in zip(shares[0], sets, strict=True))
    variance = sum(share * values.var() for share, values in zip(shares[1], sets, strict=True))
    return p["weight"][c] * (x[place] - mean) / np.sqrt(variance + EPS) + p["bias"][c]


SHARES = ("mean_shares", "variance_shares")
FORMULAS = [
    *(ghost, group_ws, rms, frn, evonorm_s0, evonorm_b0),
    *(batch_renorm, dynamic_tanh, switchable),
]
STORED = ["batch", "ghost", "batch_renorm", "switchable", "evonorm_b0"]


def by_loops(formula, x, state, activated):
    places = np.ndindex(x.shape)
    y = [formula(x, state, place, activated) for place in places]
    return np.array(y).reshape(x.shape)


def after(steps, norm, **settings):
    """Return a layer and its state after that many training batches."""
    layer = make_layer(norm, **settings)
    if "num_batches_tracked" in dict(layer.named_buffers()):
        layer.num_batches_tracked.fill_(steps)
        layer.running_var.uniform_(0.3, 3)
        if hasattr(layer, "running_mean"):
            layer.running_mean.normal_()
    return layer


@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("steps", [0, 250, 2000])  # batch_renorm: no limit yet, some, all of it
@pytest.mark.parametrize("formula", FORMULAS)
def test_values_in_training_are_those_of_loops_over_single_values(formula, steps, activated):
    layer = after(steps, formula.__name__, activated=activated)
    x, state = images(), numbers(layer)
    expected = by_loops(formula, x.numpy(), state, activated)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("formula", FORMULAS)
def test_gradients_are_those_of_finite_differences_of_the_loops(formula, activated):
    """At step 0: batch renorm corrects nothing there, and no gradient passes through r and d."""
    layer = after(0, formula.__name__, activated=activated)
    x, d_y, state = images().requires_grad_(), torch.randn(N, C, H, W).double(), numbers(layer)
    layer(x).backward(d_y)
    learned = {name: p.grad.numpy() for name, p in layer.named_parameters()}
    step = 1e-6

    def loss(x, state):
        return (by_loops(formula, x, state, activated) * d_y.numpy()).sum()

    def slope(change):
        return (change(step) - change(-step)) / (2 * step)

    for name, gradient in learned.items():
        for place in np.ndindex(gradient.shape):

            def moved(by, name=name, place=place):
                other = {key: value.copy() for key, value in state.items()}
                other[name][place] += by
                return loss(x.detach().numpy(), other)

            assert slope(moved) == pytest.approx(gradient[place], rel=1e-5, abs=1e-6), (name, place)
    for place in [(0, 0, 0, 0), (1, 2, 1, 1), (4, 3, 2, 0), (3, 1, 0, 1)]:

        def moved_image(by, place=place):
            other = x.detach().numpy().copy()
            other[place] += by
            return loss(other, state)

        assert slope(moved_image) == pytest.approx(x.grad[place].item(), rel=1e-5, abs=1e-6), place


@pytest.mark.parametrize("norm", STORED)
def test_running_statistics_over_several_batches_are_averages_of_unbiased_ones(norm):
    layer = make_layer(norm, momentum=0.3)
    mean, variance, batches = np.zeros(C), np.ones(C), 0
    for n in (4, 5, 2, 5):
        x = images(n)
        layer(x)
        for chunk in x.split([2] * (n // 2 - 1) + [2 + n % 2]) if norm == "ghost" else [x]:
            values = chunk.transpose(0, 1).flatten(1).numpy()
            mean = 0.7 * mean + 0.3 * values.mean(1)
            variance = 0.7 * variance + 0.3 * values.var(1, ddof=1)
            batches += 1
    state = numbers(layer)
    np.testing.assert_allclose(state["running_var"], variance, rtol=1e-12)
    if norm != "evonorm_b0":
        np.testing.assert_allclose(state["running_mean"], mean, rtol=1e-12)
    assert state["num_batches_tracked"] == batches
    layer.eval()(images())
    assert all((value == state[name]).all() for name, value in numbers(layer).items())


@pytest.mark.parametrize("norm", STORED)
def test_evaluation_takes_the_stored_statistics_for_those_of_the_batch(norm):
    """A large batch with momentum 1 stores its own statistics, up to Bessel's correction."""
    layer = after(10**6, norm, momentum=1.0, batch_size=10**6)
    x = images(500)
    layer(x)
    trained = layer(x)  # batch_renorm: its running statistics are those of the batch now
    torch.testing.assert_close(layer.eval()(x), trained, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        layer.running_var.mul_(4)
    assert (layer(x) - trained).abs().max() > 0.1


def same_parameters(layer, other):
    """Give `other` the γ, β and shares that `layer` has, and return both."""
    mine = dict(layer.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(mine[name])
    return layer, other


def assert_same_function(layer, other, x):
    d_y = torch.randn_like(x)
    results = []
    for one in (layer, other):
        leaf = x.clone().requires_grad_()
        y = one(leaf)
        y.backward(d_y)
        results.append([y.detach(), leaf.grad, one.weight.grad, one.bias.grad])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_size", [N, 100])
def test_ghost_norm_of_a_single_chunk_is_batch_norm_also_in_evaluation(batch_size):
    pair = same_parameters(make_layer("batch"), make_layer("ghost", batch_size=batch_size))
    assert_same_function(*pair, images())
    assert_same_function(*(one.eval() for one in pair), images())


def test_ghost_norm_of_single_images_is_instance_norm_in_training():
    pair = same_parameters(make_layer("instance"), make_layer("ghost", batch_size=1))
    assert_same_function(*pair, images())


def test_ghost_norm_moves_its_running_statistics_as_batch_norm_given_the_chunks_one_by_one():
    ghost, batch = make_layer("ghost"), make_layer("batch")
    x = images()
    ghost(x)
    for chunk in x.split([2, 3]):
        batch(chunk)
    torch.testing.assert_close(dict(ghost.named_buffers()), dict(batch.named_buffers()))


@pytest.mark.parametrize(
    ("num_images", "batch_size", "sizes"),
    [
        (8, 4, [4, 4]),
        (7, 4, [4, 3]),
        (9, 4, [4, 5]),
        (1, 4, [1]),
        (3, 4, [3]),
        (3, 1, [1, 1, 1]),
        (129, 32, [32, 32, 32, 33]),
    ],
)
def test_images_left_over_are_a_chunk_and_a_single_one_joins_the_chunk_before(
    num_images, batch_size, sizes
):
    assert batch_sizes(num_images, batch_size) == sizes


def test_group_ws_after_weights_that_are_standard_already_is_group_norm():
    block = make_norms(norm_config("group_ws", **SETTINGS)).for_block("block")
    ours = block.conv_norm_act(3, C, 3, activation=None).double()
    plain = make_norms(norm_config("group", **SETTINGS)).for_block("block")
    theirs = plain.conv_norm_act(3, C, 3, activation=None).double()
    x = torch.randn(2, 3, H, W).double()
    theirs.conv.weight = nn.Parameter(ours.conv.standardized().detach())
    torch.testing.assert_close(ours(x), theirs(x))
    assert (theirs.conv.weight - ours.conv.weight).abs().max() > 0.1


@pytest.mark.parametrize("groups", [1, 2])
def test_standardized_weights_are_the_formula_of_each_filter_and_so_are_their_gradients(groups):
    conv = StandardizedConv2d(4, 6, 3, groups=groups).double()
    weight = conv.weight.detach().numpy()
    for filter_, used in zip(weight, conv.standardized().detach().numpy(), strict=True):
        mean = sum(filter_.flatten()) / filter_.size
        variance = sum((one - mean) ** 2 for one in filter_.flatten()) / filter_.size
        np.testing.assert_allclose(used, (filter_ - mean) / np.sqrt(variance + 1e-5), rtol=1e-12)
    x = torch.randn(2, 4, 5, 5).double()

    def output(weight):
        return functional_call(conv, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(output, [conv.weight], fast_mode=True)
    expected = F.conv2d(x, conv.standardized(), conv.bias, groups=groups)
    torch.testing.assert_close(conv(x), expected)


def test_a_filter_of_a_single_weight_is_refused():
    with pytest.raises(ConfigError, match="one weight in each filter"):
        StandardizedConv2d(8, 8, 1, groups=8)


@pytest.mark.parametrize(("place", "pure"), [(0, "instance"), (1, "layer_chw"), (2, "batch")])
def test_switchable_norm_that_has_chosen_one_statistic_is_that_norm(place, pure):
    switchable, pure = make_layer("switchable"), make_layer(pure)
    with torch.no_grad():
        for shares in (switchable.mean_shares, switchable.variance_shares):
            shares.copy_(torch.full((3,), -1e3).index_fill(0, torch.tensor(place), 0.0))
        for name in ("weight", "bias"):
            pure.get_parameter(name).copy_(switchable.get_parameter(name))
    assert_same_function(switchable, pure, images())
    assert_same_function(switchable.eval(), pure.eval(), images())


def test_batch_renorm_is_batch_norm_as_long_as_nothing_may_be_corrected():
    pair = same_parameters(make_layer("batch"), make_layer("batch_renorm"))
    for _ in range(3):
        assert_same_function(*pair, images())
    assert_same_function(*(one.eval() for one in pair), images())
    assert pair[1].num_batches_tracked == 3


def test_batch_renorm_that_reaches_no_limit_computes_in_training_what_evaluation_does():
    layer = after(10**6, "batch_renorm", r_max=1e3, d_max=1e3)
    x = images()
    evaluated = copy.deepcopy(layer).eval()(x)
    torch.testing.assert_close(layer(x), evaluated)


def test_no_gradient_of_batch_renorm_passes_through_its_corrections():
    """With r and d fixed, the gradient is that of batch norm times γ r, whatever the limits."""
    layer = after(10**6, "batch_renorm")
    x = images().requires_grad_()
    mean, std = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + EPS).sqrt()
    r = (std / (layer.running_var + EPS).sqrt()).clamp(1 / 3, 3).detach()
    d_y = torch.randn(N, C, H, W).double()
    x_hat = (x - mean[:, None, None]) / std[:, None, None]
    (expected,) = torch.autograd.grad(x_hat, x, d_y * (layer.weight * r)[:, None, None])
    (gradient,) = torch.autograd.grad(layer(x), x, d_y)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    ("batches", "r_max", "d_max"),
    [(0, 1, 0), (100, 1, 0), (300, 1 + 4 / 7, 2.5), (500, 1 + 8 / 7, 5), (800, 3, 5), (9999, 3, 5)],
)
def test_limits_of_batch_renorm_rise_after_its_steps_to_what_is_set(batches, r_max, d_max):
    layer = after(batches, "batch_renorm")
    layer.running_mean.fill_(-1e6)  # both corrections are far beyond their limits
    layer.running_var.fill_(1e-12)
    x = images()
    std = (x.var((0, 2, 3), correction=0) + EPS).sqrt() / EPS**0.5
    y = layer(x)
    r = std.clamp(1 / r_max, r_max)
    x_hat = (x - x.mean((0, 2, 3), keepdim=True)) * (
        x.var((0, 2, 3), correction=0, keepdim=True) + EPS
    ).rsqrt()
    expected = layer.weight[:, None, None] * (x_hat * r[:, None, None] + d_max)
    torch.testing.assert_close(y, expected + layer.bias[:, None, None], rtol=1e-6, atol=1e-6)


def test_moments_of_a_union_are_those_of_all_its_values():
    x = images() + 1e4  # what a difference of squares would not survive
    mean, variance = merge_moments(*image_moments(x), axis=0)
    torch.testing.assert_close(mean.flatten(), x.mean((0, 2, 3)))
    torch.testing.assert_close(variance.flatten(), x.var((0, 2, 3), correction=0))


@pytest.mark.parametrize(
    ("norm", "learned", "bare"),
    [
        ("ghost", 2 * C, 0),
        ("group_ws", 2 * C, 0),
        ("rms", C, 0),
        ("frn", 3 * C, C),  # γ, β and τ
        ("evonorm_s0", 3 * C, C),  # γ, β and v
        ("evonorm_b0", 3 * C, C),
        ("batch_renorm", 2 * C, 0),
        ("dynamic_tanh", 2 * C + 1, 1),  # and α
        ("switchable", 2 * C + 6, 6),  # and two times three shares
    ],
)
def test_a_norm_learns_as_many_numbers_as_its_paper_says(norm, learned, bare):
    for affine, count in ((True, learned), (False, bare)):
        layer = make_layer(norm, affine=affine)
        assert sum(prod(parameter.shape) for parameter in layer.parameters()) == count
    plain = make_layer(norm, activated=False)
    own = C if NORMS[norm].own_activation else 0
    assert sum(prod(parameter.shape) for parameter in plain.parameters()) == learned - own


@pytest.mark.parametrize("norm", ["evonorm_s0", "evonorm_b0", "frn"])
def test_a_norm_with_an_activation_bends_where_one_follows_and_is_a_plain_scale_elsewhere(norm):
    x = images()
    for activated in (True, False):
        layer = make_layer(norm, activated=activated, affine=False).eval()
        ratio = layer(x) / x
        spread = (ratio.amax((2, 3)) - ratio.amin((2, 3))).abs().max().item()
        assert (spread > 1e-3) == activated


@pytest.mark.parametrize("norm", ["evonorm_s0", "evonorm_b0", "frn", "dynamic_tanh", "rms"])
def test_a_step_moves_every_learned_number(norm):
    layer = make_layer(norm)
    (layer(images()) * torch.randn(N, C, H, W)).sum().backward()
    assert all((parameter.grad != 0).all() for parameter in layer.parameters())


def test_dynamic_tanh_starts_at_the_alpha_of_the_settings():
    layer = make_norms(norm_config("dynamic_tanh", alpha=0.5)).for_block("block").norm(C)
    assert layer.alpha.item() == 0.5


def test_rms_norm_is_that_of_pytorch_over_the_channels_with_the_eps_of_the_settings():
    layer, x = make_layer("rms"), images()
    theirs = F.rms_norm(x.permute(0, 2, 3, 1), (C,), layer.weight, EPS).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), theirs)


def test_what_evaluation_computes_with_stored_statistics_has_no_path_between_images():
    for norm in STORED:
        layer = after(5, norm).eval()
        x = images(2)
        across = jacobian(lambda x, layer=layer: layer(x)[0], x)[..., 1, :, :, :]
        assert (across == 0).all(), norm
