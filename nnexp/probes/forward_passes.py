"""Runs the network on one fixed batch, at any weights, and leaves it exactly as it was."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Philox
from torch import Tensor, nn
from torch.func import functional_call

from nnexp.data import Images, normalized

BATCH_KEY = 0x70726F6265  # "probe": the same images for every run on the same split

Weights = Mapping[str, Tensor]  # every parameter of a model, by its name
Look = Callable[[str, nn.Module, Tensor, Tensor], None]  # path, module, its input, its output


@dataclass(frozen=True, slots=True)
class ProbeBatch:
    """Training images as they are, not cropped or flipped: float32 (N, 3, 32, 32), int64 (N,)."""

    images: Tensor
    labels: Tensor


def probe_batch(images: Images, count: int) -> ProbeBatch:
    """Return `count` training images, or all where there are fewer; a function of their number."""
    chosen = fixed_order((BATCH_KEY, 0), len(images.train))[:count].to(images.train.images.device)
    batch = normalized(images.train.images[chosen], images.mean, images.std)
    return ProbeBatch(batch, images.train.labels[chosen])


def fixed_order(key: tuple[int, int], number: int) -> Tensor:
    """Return the places 0 to `number` − 1 in an order that the key decides, int64 (number,)."""
    words = Philox(key=list(key)).random_raw(number)
    return torch.from_numpy(np.argsort(words, kind="stable"))


def loss_at(model: nn.Module, weights: Weights, batch: ProbeBatch) -> Tensor:
    """Return the mean loss with `weights` in the place of the model's own, in float32.

    The pass runs on copies of the buffers, so BatchNorm's running statistics stay as they are.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    logits = functional_call(model, {**weights, **buffers}, (batch.images,))
    return F.cross_entropy(logits.float(), batch.labels)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's own parameters, not copied, without a graph."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode for the block, and each module back in its own."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def modules_seen(model: nn.Module, look: Look) -> Iterator[None]:
    """Show `look` every module as it is done, before anything overwrites what it gave."""
    with ExitStack() as hooks:
        for path, module in model.named_modules():
            handle = module.register_forward_hook(_shown_to(look, path))
            hooks.callback(handle.remove)
        yield


def _shown_to(look: Look, path: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        with torch.no_grad():
            look(path, module, inputs[0].detach(), output.detach())

    return hook
