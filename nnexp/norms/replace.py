"""Gives a model from another library nnexp's norm layers in place of its own."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from nnexp.norms.builder import BlockLayers, Norms
from nnexp.norms.sites import evaluate_blank_images
from nnexp.settings import ConfigError

KNOWN = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)
WEIGHTED = (nn.Conv2d, nn.Linear)
CONVOLUTION_SETTINGS = (
    *("in_channels", "out_channels", "kernel_size", "stride"),
    *("padding", "dilation", "groups", "padding_mode"),
)
REARRANGING = ("permute", "transpose", "flatten", "contiguous")  # channels stay channels
AVERAGING = ("mean", "adaptive_avg_pool2d")
GLOBAL_AVERAGE = "global average"


def replace_norms(model: nn.Module, norms: Norms, image_size: int = 32) -> nn.Module:
    """Replace every norm layer of `model` by the one that the settings chose, and return `model`.

    Known are BatchNorm2d, GroupNorm, InstanceNorm2d and LayerNorm over the channels, wherever
    their axis is, with all that torchvision and timm derive from them. Each is a block of its
    own, named by its path with underscores for dots: `norm.at.layer1_0_bn1=group`. Activation
    and dropout that a layer included follow the new one. γ starts at 1 and β at 0 everywhere.

    Where a forward pass shows that a norm alone reads the output of a convolution or linear
    layer, that layer gets or loses its bias as in nnexp's own models (`norm.conv_bias`), and a
    norm that brings its own convolution replaces it. Elsewhere these layers stay as they are.

    Args:
        model: Takes images of 3 channels; changed in place.
        norms: What the function of a model in `MODELS` is given.
        image_size: Height and width of the images of that forward pass.

    Raises:
        ConfigError: The model has no norm, or one that is not known.
    """
    modules = list(model.named_modules(remove_duplicate=False))
    old_norms = {path: module for path, module in modules if isinstance(module, KNOWN)}
    _check_norms(model, old_norms)
    trace = _Trace(old_norms)
    handles = [
        handle
        for path, module in modules
        if isinstance(module, WEIGHTED + KNOWN)
        for handle in trace.watch(path, module)
    ]
    try:
        with trace:
            evaluate_blank_images(model, image_size)
    finally:
        for handle in handles:
            handle.remove()
    for path, old in old_norms.items():
        block = norms.for_block(path.replace(".", "_"))
        for source, readers in trace.readers.items():
            if readers == [path]:
                _fit_layer_before(model, source, block)
        pooled = trace.readers.get(path) == [GLOBAL_AVERAGE]
        model.set_submodule(path, _new_layer(old, block, pooled).train(old.training))
    return model


class ChannelsLast(nn.Module):
    """A norm for values whose channels are the last axis: maps N×H×W×C, tokens N×L×C, N×C."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized values, in the shape of x."""
        x_NC = x.movedim(-1, 1)
        size_HW = (*x_NC.shape[2:], 1, 1)[:2]
        y_NCHW = self.norm(x_NC.reshape(*x_NC.shape[:2], *size_HW))
        return y_NCHW.reshape(x_NC.shape).movedim(1, -1)


def _check_norms(model: nn.Module, old_norms: Mapping[str, nn.Module]) -> None:
    for path, module in model.named_modules():
        over_several = isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1
        holds_layers = any(isinstance(part, WEIGHTED + KNOWN) for part in module.modules())
        if over_several or ("Norm" in type(module).__name__ and not holds_layers):
            raise ConfigError(
                f"the {type(module).__name__} at {path} is a norm that cannot be replaced",
                f"only {', '.join(kind.__name__ for kind in KNOWN)} over channels, "
                "and what is derived from them, can: use another model",
            )
    if not old_norms:
        raise ConfigError(
            f"{type(model).__name__} has no norm layer to replace",
            "take a variant of the model that has them, such as vgg16_bn",
        )


def _channels(norm: Any) -> int:
    if isinstance(norm, nn.LayerNorm):
        return norm.normalized_shape[0]
    return norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features


def _has_channels_last(norm: nn.Module) -> bool:
    """Return whether a layer norm reads its last axis; libraries derive others that read NCHW."""
    if not isinstance(norm, nn.LayerNorm):
        return False
    channels = _channels(norm)
    x_NCHW = torch.zeros((1, channels, 1, channels + 1))
    try:
        norm(x_NCHW if norm.weight is None else x_NCHW.to(norm.weight))
    except RuntimeError:  # its last axis is not the channels
        return True
    return False


def _new_layer(old: nn.Module, block: BlockLayers, pooled: bool) -> nn.Module:
    """Return the block's norm, then the dropout and the activation that `old` included."""
    parts = {name: getattr(old, name, nn.Identity()) for name in ("drop", "act")}  # timm's names
    parts = {name: part for name, part in parts.items() if not isinstance(part, nn.Identity)}
    norm = block.norm(
        _channels(old), activated="act" in parts, pooled=pooled and "act" not in parts
    )
    if _has_channels_last(old):
        norm = ChannelsLast(norm)
    if block.kind.own_activation:
        parts.pop("act", None)
    return nn.Sequential(OrderedDict(norm=norm, **parts)) if parts else norm


def _fit_layer_before(model: nn.Module, path: str, block: BlockLayers) -> None:
    """Give the layer before a norm the convolution and the bias that the norm asks for."""
    layer = model.get_submodule(path)
    if isinstance(layer, nn.Conv2d) and block.kind.convolution is not nn.Conv2d:
        layer = _own_convolution(path, layer, block)
        model.set_submodule(path, layer)
    if not isinstance(layer, WEIGHTED):
        return  # a norm right before a norm
    if not block.bias(len(layer.weight)):
        layer.register_parameter("bias", None)
    elif layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))


def _own_convolution(path: str, conv: nn.Conv2d, block: BlockLayers) -> nn.Conv2d:
    if type(conv) is not nn.Conv2d:
        raise ConfigError(
            f"the norm brings a convolution of its own, and the {type(conv).__name__} at {path} "
            "does more than a Conv2d",
            "use another norm or another model",
        )
    settings: dict[str, Any] = {name: getattr(conv, name) for name in CONVOLUTION_SETTINGS}
    own = block.kind.convolution(**settings, bias=conv.bias is not None)
    own.load_state_dict(own.state_dict() | conv.state_dict())
    return own


class _Trace(TorchFunctionMode):
    """Notes, while a model runs, what reads the output of each convolution, linear and norm layer.

    Hooks tell which layer is running; calls of torch's functions arrive here by the mode. What a
    norm layer calls inside itself does not count.
    """

    def __init__(self, norms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.readers: dict[str, list[str]] = {}  # path of a layer → paths of norms, or functions
        self._norms = norms
        self._sources: dict[int, str] = {}  # id of an output → path of its layer
        self._outputs: list[Tensor] = []  # kept, so that no other tensor gets their id
        self._norms_running = 0

    def watch(self, path: str, layer: nn.Module) -> Iterator[RemovableHandle]:
        """Follow one layer; yields what ends it."""

        def begin(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._norms_running += 1
            if source := self._sources.get(id(inputs[0])):
                self._note(source, path)

        def end(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._norms_running -= path in self._norms
            self._follow(output, path)

        if path in self._norms:
            yield layer.register_forward_pre_hook(begin)
        yield layer.register_forward_hook(end)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # A call that returns anything else asks for a size or a type; an assignment returns None.
        if isinstance(result, Tensor | tuple | list | None) and not self._norms_running:
            for x in _tensors((*args, *(kwargs or {}).values())):
                if source := self._sources.get(id(x)):
                    self._note_call(func.__name__, source, x, result)
        return result

    def _note_call(self, function: str, source: str, x: Tensor, result: Any) -> None:
        if function in REARRANGING:
            self._follow(result, source)
        elif function in AVERAGING and source in self._norms:
            everything = len(x) * _channels(self._norms[source])
            self._note(source, GLOBAL_AVERAGE if result.numel() == everything else function)
        elif not isinstance(result, torch.Size):
            self._note(source, function)

    def _note(self, source: str, reader: str) -> None:
        self.readers.setdefault(source, []).append(reader)

    def _follow(self, output: Tensor, source: str) -> None:
        self._outputs.append(output)
        self._sources[id(output)] = source


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
