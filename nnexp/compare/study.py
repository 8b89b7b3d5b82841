"""The name of a study → the rows that belong to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnexp.compare.columns import SETTINGS, Row, as_typed, shown
from nnexp.console import counted
from nnexp.settings import NOT_IDENTITY, ConfigError, ExperimentConfig, result_head

WORD = "study="  # what a source begins with that names a study
SEED = "seed="
# By a study, beside the images.
OPEN = (
    *("seed", "epochs", "max_steps", "precision", "memory_format", "step", "tf32"),
    "deterministic",
)
ARM = [
    key
    for key in SETTINGS
    if key not in NOT_IDENTITY and key not in OPEN and not key.startswith("data.")
]
Arm = tuple[str, ...]  # a job's values of the settings in ARM


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The jobs of a study: each arm with each seed."""

    name: str
    arms: frozenset[Arm]
    seeds: frozenset[int]

    def has(self, row: Row) -> bool:
        """Return whether a row agrees with a job in all that the study decides, the seed aside."""
        return _arm(row) in self.arms

    def outside(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of no job that agree with the study in all that no two jobs differ in."""
        values = [set(own) for own in zip(*self.arms, strict=True)]
        common = [len(own) == 1 for own in values]
        return [
            row
            for row in rows
            if not self.has(row)
            and all(
                word in own
                for word, own, shared in zip(_arm(row), values, common, strict=True)
                if shared
            )
        ]


def read_study(name: str, config_dir: str | None = None) -> Study:
    """Return the study of that name, as `nnexp sweep study=NAME` would run it.

    It is one of nnexp's, of the own configs, or of `config_dir`.

    Raises:
        ConfigError: There is none, or it cannot be composed.
    """
    from nnexp.settings.compose import compose_each, expand_jobs  # Hydra takes a third of a second

    jobs = expand_jobs([f"{WORD}{name}"], config_dir)
    arms = {tuple(word for word in job if not word.startswith(SEED)) for job in jobs}
    seeds = {int(word.removeprefix(SEED)) for job in jobs for word in job if word.startswith(SEED)}
    configs = compose_each([list(words) for words in arms], config_dir)
    return Study(
        name=name,
        arms=frozenset(_arm(_row(config)) for config in configs),
        seeds=frozenset(seeds or {configs[0].seed}),
    )


def keep_studies(
    rows: Sequence[Row],
    names: Sequence[str],
    say: Callable[[str], None],
    config_dir: str | None = None,
) -> list[Row]:
    """Return the rows that belong to one of the studies; `say` hears of what is not there.

    Raises:
        ConfigError: A study has no row.
    """
    kept: dict[str, Row] = {}
    for name in names:
        study = read_study(name, config_dir)
        members = [row for row in rows if study.has(row)]
        if not members:
            raise ConfigError(f"no run of {WORD}{name}", f"nnexp sweep {WORD}{name} trains them")
        here = {(_arm(row), row["seed"]) for row in members if row["seed"] in study.seeds}
        total = len(study.arms) * len(study.seeds)
        if len(here) < total:
            say(f"{len(here)} of the {total} runs of {WORD}{name} are here")
        if outside := study.outside(rows):
            say(
                f"left out, since the grid of {WORD}{name} does not have them: "
                f"{counted(len(outside), 'run')}; name their folders or files without "
                f"{WORD}{name} to compare them too"
            )
        kept |= {row["run_id"]: row for row in members}
    return list(kept.values())


def _row(config: ExperimentConfig) -> Row:
    return {key: as_typed(value) for key, value in result_head(config, "").items()}


def _arm(row: Row) -> Arm:
    return tuple(shown(row[key]) for key in ARM)
