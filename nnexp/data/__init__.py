"""Images: settings → sources → splits → an epoch's plan → batches on the device."""

from nnexp.data.batches import normalized, train_batches
from nnexp.data.cache import Examples, Source, fingerprint
from nnexp.data.plan import EpochPlan, epoch_plan
from nnexp.data.sources import SOURCES, describe_images, load_images
from nnexp.data.split import Images, Split
from nnexp.settings.sizes import batch_sizes

__all__ = [
    "SOURCES",
    "EpochPlan",
    "Examples",
    "Images",
    "Source",
    "Split",
    "batch_sizes",
    "describe_images",
    "epoch_plan",
    "fingerprint",
    "load_images",
    "normalized",
    "train_batches",
]
