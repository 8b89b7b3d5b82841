"""The residual networks that were made for CIFAR: 6n + 2 layers, three stages of n blocks.

He, Zhang, Ren & Sun, 2015 (https://arxiv.org/abs/1512.03385), section 4.2: a 3×3 stem of 16
channels, stages of 16, 32 and 64 channels on maps of 32², 16² and 8², a norm after each
convolution and before the addition, global average pooling, one linear layer. Shortcuts have no
parameters: where the shape changes, every second row and column is taken, and the new channels
are 0 (option A of the paper).
"""

from torch import Tensor, nn
from torch.nn.functional import pad

from nnexp.models.residual import residual_network
from nnexp.norms import BlockLayers, Norms
from nnexp.settings import ModelConfig


class PaddedShortcut(nn.Module):
    """Take every `stride`-th row and column, and add channels of zeros: NCHW to NCHW."""

    def __init__(self, num_added: int, stride: int) -> None:
        super().__init__()
        self.num_added = num_added
        self.stride = stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the smaller maps, the zeros last."""
        return pad(x_NCHW[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.num_added))

    def extra_repr(self) -> str:
        """Return what `print(model)` shows between the parentheses."""
        return f"num_added={self.num_added}, stride={self.stride}"


def _padded(layers: BlockLayers, num_in: int, num_out: int, stride: int) -> nn.Module:
    return PaddedShortcut(num_out - num_in, stride)


def resnet14(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return the network with two blocks in each stage."""
    return _of_blocks(2, config, num_classes, norms)


def resnet20(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return the network with three blocks in each stage."""
    return _of_blocks(3, config, num_classes, norms)


def resnet56(config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    """Return the network with nine blocks in each stage."""
    return _of_blocks(9, config, num_classes, norms)


def _of_blocks(count: int, config: ModelConfig, num_classes: int, norms: Norms) -> nn.Module:
    return residual_network(
        config,
        num_classes,
        norms,
        widths=(16, 32, 64),
        blocks_per_stage=count,
        shortcut=_padded,
    )
