"""Where a built model normalizes: every site's shape and statistic, checked before training."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nnexp.norms.kinds import NORMS, NormSpec
from nnexp.settings import ConfigError
from nnexp.settings.plugins import explaining_plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One norm layer in its place."""

    layer: str  # path of the module, such as conv1_1.norm
    block: str
    norm: str
    channels: int
    height: int
    width: int
    axes: str
    values_per_statistic: int  # 0 where nothing is normalized
    groups: int | None  # only of a norm that splits the channels
    eps: float | None  # only of a norm with a statistic
    parameters: int


def norm_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return path and module of every norm layer, `none` included, in the order of the model."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(vars(module).get("spec"), NormSpec)
    ]


def parts_of_norms(model: nn.Module) -> set[nn.Module]:
    """Return every norm layer and every module inside one: what is not the network's own."""
    return {part for _, layer in norm_layers(model) for part in layer.modules()}


def spec_of(layer: nn.Module) -> NormSpec:
    """Return what a norm layer was built from."""
    return vars(layer)["spec"]


def find_sites(model: nn.Module, batch_size: int, image_size: int = 32) -> list[Site]:
    """Return every norm site in the order of the forward pass, each one checked.

    The map sizes come from evaluating two blank images, wherever the model is ("meta" too, at
    the price of importing sympy, 3 s, the first time); the model is left as it was.

    Raises:
        ConfigError: A norm cannot work at its site; names the layer, its shape and what would do.
    """
    sites: list[Site] = []

    def add_site_of(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add_site(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            _, channels, height, width = inputs[0].shape
            assert channels == spec_of(layer).channels, path
            sites.append(_site(path, layer, (batch_size, height, width)))

        return add_site

    # Before the layer runs: PyTorch's own refusals would name neither the layer nor a way on.
    hooks = [
        layer.register_forward_pre_hook(add_site_of(path), prepend=True)
        for path, layer in norm_layers(model)
    ]
    hooks += [layer.register_forward_hook(_check_output) for _, layer in norm_layers(model)]
    try:
        with explaining_plugins():
            evaluate_blank_images(model, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return sites


def _check_output(layer: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
    given, returned = _described(inputs[0]), _described(output)
    if given != returned:
        raise ConfigError(
            f"the layer of NORMS[{spec_of(layer).norm!r}] returns {returned}, its input is {given}",
            "it must return maps N×C×H×W of the same size and type",
        )


def _described(value: object) -> str:
    """Return size and type of a tensor, and the type alone of anything else."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {value.dtype}"
    return type(value).__name__


def evaluate_blank_images(model: nn.Module, image_size: int) -> Tensor:
    """Return what the model gives for two blank images, wherever it is; it stays as it was."""
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            return model.eval()(torch.zeros((2, 3, image_size, image_size), device=device))
    finally:
        for module, training in modes:
            module.training = training


def _site(path: str, layer: nn.Module, size_NHW: tuple[int, int, int]) -> Site:
    spec = spec_of(layer)
    if reason := _why_not(spec, size_NHW):
        raise _cannot_work(path, spec, size_NHW, reason)
    _, height, width = size_NHW
    statistic = spec.kind.statistic
    return Site(
        layer=path,
        block=spec.block,
        norm=spec.norm,
        channels=spec.channels,
        height=height,
        width=width,
        axes=spec.kind.axes,
        values_per_statistic=spec.values_per_statistic(*size_NHW),
        groups=spec.groups if statistic and statistic.groups else None,
        eps=spec.eps if statistic else None,
        parameters=sum(parameter.numel() for parameter in layer.parameters()),
    )


def _why_not(spec: NormSpec, size_NHW: tuple[int, int, int]) -> str:
    """Return why what follows the norm would be the same for every image; empty where it is not."""
    statistic = spec.kind.statistic
    if statistic and statistic.needs_several and spec.values_per_statistic(*size_NHW) == 1:
        dead = (
            "its output would be 0 everywhere" if statistic.centred else "its variance would be 0"
        )
        return f"its statistic has a single value, so {dead}"
    if spec.pooled and spec.removes_image_means(size_NHW[0]):
        return (
            "the pooling after it keeps the mean of each channel, "
            "and this norm makes that mean the same for every image"
        )
    return ""


def _cannot_work(
    path: str, spec: NormSpec, size_NHW: tuple[int, int, int], reason: str
) -> ConfigError:
    batch_size, height, width = size_NHW
    statistic = spec.kind.statistic
    shape = f"{spec.channels}×{height}×{width} map"
    if statistic and "N" in statistic.over:
        shape += f" with batch_size={batch_size}"
    # Only the block before the pooling needs another norm.
    way = f"norm.at.{spec.block}" if spec.pooled else spec.setting
    *names, last = [name for name in NORMS if _would_work(name, spec, size_NHW)]
    ways = f"{way}={', '.join(names)} or {last}"
    if statistic and statistic.groups:
        ways = f"norm.channels_per_group of 2 or more, {ways}"
    return ConfigError(
        f"{spec.setting}={spec.norm} cannot work at {path}, a {shape}",
        f"{reason}; use {ways}, or another model",
    )


def _would_work(norm: str, spec: NormSpec, size_NHW: tuple[int, int, int]) -> bool:
    other = replace(spec, norm=norm)
    if norm == spec.norm or other.kind.statistic is None:
        return False
    if other.kind.convolution is not nn.Conv2d:  # the layer before may be a linear one
        return False
    try:
        return not _why_not(other, size_NHW)
    except ConfigError:  # its groups do not divide these channels
        return False
