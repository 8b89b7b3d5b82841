"""The set of values that a norm takes its statistics over."""

from collections.abc import Callable
from dataclasses import dataclass

from nnexp.settings import ConfigError, NormConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """The set of values that a norm takes each mean, variance or mean square over."""

    over: str  # the axes of NCHW that the set extends over
    per: str  # in words, what has a statistic of its own
    centred: bool = True  # the mean is subtracted; False for root mean square
    # A variance is divided by although its mean is not subtracted, as in EvoNorm.
    variance: bool = False
    # The deviation divided by is a mix with those of other sets.
    mixed: bool = False
    # Evaluation uses the layer's running_var, and its running_mean where the mean is subtracted.
    stored: bool = False
    # From channels, settings and block: the groups that the channels are split into.
    groups: Callable[[int, NormConfig, str], int] | None = None
    # From the settings: the images of the batch that share a statistic. None: all of them.
    chunk: Callable[[NormConfig], int] | None = None

    def __post_init__(self) -> None:
        if not self.over or not set(self.over) <= set("NCHW"):
            raise ConfigError(f"over={self.over!r} names no axes", 'it needs some of "NCHW"')

    @property
    def needs_several(self) -> bool:
        """Whether a single value carries nothing: its variance is 0."""
        return self.centred or self.variance

    def images(self, config: NormConfig, batch_size: int) -> int:
        """Return how many images of a batch share a statistic over N."""
        return min(self.chunk(config), batch_size) if self.chunk else batch_size
