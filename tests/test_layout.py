import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killed_runs import run_in_child
from tables import PACKAGED_NORMS, norm_config
from torch import nn

from nnexp.experiment import run
from nnexp.norms import NORMS, keep_norms_in_fp32, make_norms
from nnexp.rundir import RunDir
from nnexp.settings import ModelConfig, run_id
from nnexp.training import choose_layout, lay_out, start_state

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZES = [(2, 8, 5), (4, 32, 30), (3, 64, 23)]  # images, channels, side; small maps and large ones


def maps(images: int, channels: int, side: int) -> torch.Tensor:
    spread = 0.5 + torch.rand(images, channels, 1, 1)
    x = torch.randn(images, channels, side, side) * spread + torch.randn(channels, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def layer_and_formula(norm, channels, affine=True, **settings):
    """A norm layer and its float64 formula, with the same parameters."""
    torch.manual_seed(3)
    config = norm_config(norm, affine=affine, **settings)
    layer = make_norms(config).for_block("block").norm(channels)
    if NORMS[norm].reference:
        formula = make_norms(replace(config, implementation="reference"))
        expected = formula.for_block("block").norm(channels)
    else:
        expected = copy.deepcopy(layer).double()
    with torch.no_grad():
        for mine, theirs in zip(layer.parameters(), expected.parameters(), strict=True):
            theirs.copy_(mine.uniform_(0.5, 1.5))
    return layer, expected


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norm", PACKAGED_NORMS)
def test_norm_of_maps_in_nhwc_order_is_the_float64_formula_and_keeps_the_order(norm, size, affine):
    """A ReLU that overwrites the output follows: of a view it would give slow gradients."""
    layer, expected = layer_and_formula(norm, size[1], affine, eps=0.1)
    x, d_y = maps(*size).requires_grad_(), maps(*size)
    x_expected = x.detach().contiguous().double().requires_grad_()
    y = torch.relu_(layer(x) if norm not in ("none", "scaled_ws") else layer(x).clone())
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.backward(d_y)
    y_expected = torch.relu(expected(x_expected))
    y_expected.backward(d_y.double())
    torch.testing.assert_close(y.double(), y_expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), x_expected.grad, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(layer.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [8, 64])
@pytest.mark.parametrize("norm", PACKAGED_NORMS)
def test_norm_is_right_where_the_mean_is_a_hundred_deviations_from_zero(norm, channels, dtype):
    """There the mean of squares less the squared mean is wrong in its third digit in float32."""
    layer, expected = layer_and_formula(norm, channels)
    keep_norms_in_fp32(layer)
    x = (maps(4, channels, 16) + 100).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = layer(x)
    assert y.dtype == dtype
    exact = expected(x.double())
    error = 2**-8 if dtype == torch.bfloat16 else 1e-4  # bfloat16 has 8 bits: one rounding
    torch.testing.assert_close(y.double(), exact.double(), rtol=error, atol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("norm", "settings"),
    [
        *[(norm, {}) for norm in PACKAGED_NORMS if norm != "none"],
        ("group", {"channels_per_group": 1}),
        ("group", {"channels_per_group": 16}),
    ],
)
def test_norm_of_maps_in_bfloat16_computes_in_float32_and_rounds_once(norm, settings, layout):
    layer, expected = layer_and_formula(norm, 64, **settings)
    keep_norms_in_fp32(layer)
    x, d_y = (maps(8, 64, 16).contiguous(memory_format=layout).bfloat16() for _ in range(2))
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(mine)
    y.backward(d_y)
    assert y.dtype == mine.grad.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=layout)
    y_expected = expected(theirs)
    y_expected.backward(d_y.double())
    for ours, exact in ((y, y_expected), (mine.grad, theirs.grad)):
        torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=1e-4)
        assert (ours != exact.bfloat16()).float().mean() < 2e-3  # ties, and sums in another order
    for parameter, exact in zip(layer.parameters(), expected.parameters(), strict=True):
        assert parameter.grad.dtype == torch.float32
        torch.testing.assert_close(parameter.grad, exact.grad.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("norm", [name for name in PACKAGED_NORMS if name != "none"])
def test_output_of_a_norm_is_no_view_so_that_a_relu_may_overwrite_it(norm):
    layer = make_norms(norm_config(norm)).for_block("block").norm(64)
    assert not layer(maps(3, 64, 23))._is_view()


def test_maps_lie_in_nhwc_order_on_a_cpu_unless_the_settings_or_a_model_of_the_users_say_nchw(tiny):
    assert choose_layout(tiny, CPU) == "nhwc"
    assert choose_layout(tiny, CUDA) == "nchw"
    assert choose_layout(replace(tiny, memory_format="nchw"), CPU) == "nchw"
    assert choose_layout(replace(tiny, memory_format="nhwc"), CUDA) == "nhwc"
    own = replace(tiny, model=ModelConfig(name="mine"), code={"model.mine": "mine.py"})
    assert choose_layout(own, CPU) == "nchw"


@pytest.mark.parametrize("own", [True, False])
def test_norm_of_the_users_is_given_maps_in_nchw_order(tiny, own):
    config = replace(tiny, code={f"norm.{tiny.norm.name}": "mine.py"} if own else {})
    model = start_state(tiny, 10, CPU, "nchw").model
    lay_out(model, "nhwc", config)
    given = []
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda layer, inputs, y: given.append(inputs[0]))
    model(torch.randn(4, 3, 32, 32))
    assert given
    assert all(x.is_contiguous() == own for x in given)


def test_run_says_in_which_order_its_maps_lay_and_one_from_before_the_choice_goes_on_in_nchw(tiny):
    folder = RunDir(Path(tiny.runs_dir) / run_id(tiny))
    assert run_in_child(tiny, "asked to stop after step", 13) == 3
    record = json.loads(folder.environment.read_text("utf-8"))
    assert record.pop("memory_format") == "nhwc"
    folder.environment.write_text(json.dumps(record), "utf-8")
    assert run(tiny).status == "done"
    record = json.loads(folder.environment.read_text("utf-8"))
    assert [one["memory_format"] for one in record["resumed"]] == ["nchw"]


def test_order_in_memory_decides_rounding_alone(tiny):
    by_layout = [start_state(tiny, 10, CPU, layout).model for layout in ("nchw", "nhwc")]
    x = torch.randn(16, 3, 32, 32)
    nchw, nhwc = (model.double().eval()(x.double()) for model in by_layout)
    torch.testing.assert_close(nhwc, nchw, rtol=1e-10, atol=1e-10)
