"""How sure differences are → how large a true one must be to be shown."""

from scipy.special import nctdtr

from nnexp.compare.judgement import Judgement

POWER = 0.8  # probability with which a difference is to be shown


def detectable(judgement: Judgement) -> float | None:
    """Return the true difference that a typical comparison shows with probability POWER."""
    known = [one for one in judgement.family.judged.values() if one.p is not None]
    if not known:
        return None
    one = sorted(known, key=lambda one: one.error)[len(known) // 2]
    assert one.high is not None
    critical = (one.high - one.value) / one.error
    return shift_for(critical, one.freedom) * one.error


def shift_for(critical: float, freedom: float, power: float = POWER) -> float:
    """Return how many standard errors a difference must have for t > `critical` at `power`."""
    low, high = 0.0, critical + 20.0
    for _ in range(60):
        middle = (low + high) / 2
        below = nctdtr(freedom, middle, critical)  # NaN far above what is looked for
        low, high = (middle, high) if below > 1 - power else (low, middle)
    return high
