"""What is measured at one step, kept on the device until rows are written."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True)
class TimePoint:
    """The quantities of one step: still on the device, so that nothing waits for it."""

    epoch: int
    step: int
    names: list[tuple[str, str]] = field(default_factory=list)  # layer, quantity
    values: list[Tensor] = field(default_factory=list)

    def note(self, layer: str, quantity: str, value: Tensor) -> None:
        """Add one quantity of a layer."""
        self.names.append((layer, quantity))
        self.values.append(value.detach())
