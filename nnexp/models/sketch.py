"""A model before training: its blocks, its parameters and every norm site, as tables."""

from dataclasses import dataclass

from torch import Tensor, nn

from nnexp.models import build_model
from nnexp.norms import Site, find_sites, make_norms, norm_layers, parts_of_norms, spec_of
from nnexp.norms.sites import evaluate_blank_images
from nnexp.settings import ExperimentConfig

IMAGE_SIZE = 32


CLASSES = {"cifar10": 10, "cifar100": 100, "synthetic": 10, "folder": 10}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One named child of a model."""

    name: str
    layers: str
    output: str  # C×H×W, or a number of features
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What can be said of a model without training it."""

    blocks: list[Block]
    sites: list[Site]
    parameters: int
    norm_parameters: int


def sketch_model(config: ExperimentConfig) -> Sketch:
    """Return the blocks and norm sites of the model that `config` describes.

    Raises:
        ConfigError: A norm cannot work at one of the sites.
    """
    num_classes = CLASSES[config.data.name]
    norms = make_norms(config.norm, config.batch_size)
    model = build_model(config.model, num_classes, norms, config.init)
    sites = find_sites(model, config.batch_size, IMAGE_SIZE)
    return Sketch(
        blocks=_blocks(model),
        sites=sites,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        norm_parameters=sum(site.parameters for site in sites),
    )


def _blocks(model: nn.Module) -> list[Block]:
    shapes: dict[str, str] = {}

    def note(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[name] = "×".join(str(size) for size in output.shape[1:])

        return hook

    handles = [child.register_forward_hook(note(name)) for name, child in model.named_children()]
    evaluate_blank_images(model, IMAGE_SIZE)
    for handle in handles:
        handle.remove()
    return [
        Block(
            name=name,
            layers=_layers(child),
            output=shapes.get(name, "–"),  # a model of others may have children it never calls
            parameters=sum(parameter.numel() for parameter in child.parameters()),
        )
        for name, child in model.named_children()
        if not isinstance(child, (nn.Dropout, nn.Flatten, nn.ReLU))
    ]


def _layers(block: nn.Module) -> str:
    """Return the layers of a block that hold something, in words, such as "conv 3×3 64→128"."""
    words = {layer: spec_of(layer).norm for _, layer in norm_layers(block)}
    in_norms = parts_of_norms(block)
    leaves = [
        leaf for leaf in block.modules() if leaf not in in_norms and not list(leaf.children())
    ]
    words |= {leaf: _leaf(leaf) for leaf in leaves}
    return " · ".join(words[layer] for layer in block.modules() if words.get(layer))


def _leaf(leaf: nn.Module) -> str:
    if isinstance(leaf, nn.Conv2d):
        height, width = leaf.kernel_size
        words = f"conv {height}×{width} {leaf.in_channels}→{leaf.out_channels}"
        words += f" /{leaf.stride[0]}" if leaf.stride[0] > 1 else ""
        words += " depthwise" if leaf.groups > 1 else ""
        return words + (" +bias" if leaf.bias is not None else "")
    if isinstance(leaf, nn.Linear):
        words = f"linear {leaf.in_features}→{leaf.out_features}"
        return words + (" +bias" if leaf.bias is not None else "")
    if isinstance(leaf, nn.MaxPool2d):
        return f"max pool {leaf.kernel_size}"
    return ""
