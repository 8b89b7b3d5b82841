"""Two modules with the same state compute the same function and the same gradients."""

import torch


def share_state(ours, theirs):
    """Give `theirs` random state that does not look like an initialization, `ours` the same."""
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if tensor.dim() == 1 or "layer_scale" in name:
                tensor.uniform_(0.5, 1.5)
        pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        for mine, other in pairs:
            mine.copy_(other.view_as(mine))


def assert_same_function(ours, theirs, x):
    """Check the output and the gradients of input and parameters, in training and evaluation."""
    for mode in (True, False):
        (y, *mine), (other_y, *others) = (
            _output_and_gradients(module.train(mode), x) for module in (ours, theirs)
        )
        scale = other_y.abs().max()
        torch.testing.assert_close(y / scale, other_y / scale, rtol=1e-4, atol=1e-5)
        for gradient, other in zip(mine, others, strict=True):
            scale = other.abs().max()
            torch.testing.assert_close(
                gradient / scale, other.view_as(gradient) / scale, rtol=1e-3, atol=1e-4
            )


def _output_and_gradients(module, x):
    x = x.clone().requires_grad_()
    y = module(x)
    d_y = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return y.detach(), *torch.autograd.grad(y, [x, *module.parameters()], d_y)
