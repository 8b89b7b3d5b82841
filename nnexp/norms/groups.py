"""How many groups GroupNorm cuts a layer's channels into."""

from nnexp.settings import ConfigError, NormConfig

MOST_GROUPS = 32  # Wu & He, 2018, https://arxiv.org/abs/1803.08494
FEWEST_CHANNELS_PER_GROUP = 4  # below it, narrow layers drift towards InstanceNorm


def num_groups_for(channels: int, config: NormConfig, block: str) -> int:
    """Return the number of groups: as set, or else by the rule.

    The rule is the largest divisor of `channels` that is at most 32 and leaves at least 4
    channels a group. The paper's plain 32 does not divide the widths of EfficientNet, and
    would leave one channel a group, which is InstanceNorm, where a layer has 32.

    Raises:
        ConfigError: The setting does not divide the channels; names the block and what would do.
    """
    if config.num_groups is not None:
        _check_divides("num_groups", config.num_groups, channels, block)
        return config.num_groups
    if config.channels_per_group is not None:
        _check_divides("channels_per_group", config.channels_per_group, channels, block)
        return channels // config.channels_per_group
    return groups_by_rule(channels)


def groups_by_rule(channels: int) -> int:
    """Return the largest divisor G of `channels` with G <= 32 and channels / G >= 4, else 1."""
    return max(
        (
            groups
            for groups in _divisors(channels)
            if groups <= MOST_GROUPS and channels // groups >= FEWEST_CHANNELS_PER_GROUP
        ),
        default=1,
    )


def _check_divides(setting: str, value: int, channels: int, block: str) -> None:
    if channels % value == 0:
        return
    rule = groups_by_rule(channels)
    fitting = ", ".join(str(divisor) for divisor in _divisors(channels))
    by_rule = rule if setting == "num_groups" else channels // rule
    raise ConfigError(
        f"norm.{setting}={value} does not divide the {channels} channels of block {block}",
        f"{fitting} would do there; left out, the rule takes {by_rule}",
    )


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
