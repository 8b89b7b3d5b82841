"""Settings with any name of the tables, and which of the tables' entries are nnexp's own."""

from nnexp.models import MODELS
from nnexp.norms import NORMS, make_norms
from nnexp.settings import ModelConfig, NormConfig

PACKAGED_NORMS = [
    name for name, kind in NORMS.items() if kind.build.__module__.startswith("nnexp.")
]
PACKAGED_MODELS = [name for name, make in MODELS.items() if make.__module__.startswith("nnexp.")]
# ResNet-14 and ResNet-56 have the blocks of ResNet-20, in other numbers.
ARCHITECTURES = [name for name in MODELS if name not in ("resnet14", "resnet56")]


def norm_config(name="batch", *, at=None, **settings):
    """Return settings for entries that the settings themselves do not know."""
    config = NormConfig(**settings)
    config.name, config.at = name, at or {}
    return config


def model_config(name, **settings):
    """Return settings for an entry that the settings themselves do not know."""
    config = ModelConfig(**settings)
    config.name = name
    return config


def _has_a_pair_and_no_more(norm):
    layer = make_norms(norm_config(norm)).for_block("block").norm(8, activated=True)
    return {name for name, _ in layer.named_parameters()} == {"weight", "bias"}


# Each learns γ and β, and nothing else.
PAIRED_NORMS = [name for name in PACKAGED_NORMS if _has_a_pair_and_no_more(name)]
