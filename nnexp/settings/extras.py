"""Launchers and sweepers of other packages: the extra that brings each, and what it is set to."""

from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nnexp.settings.errors import ConfigError

# What follows hydra/launcher= or hydra/sweeper= → the extra, and the package that it brings.
EXTRAS = {
    ("hydra/launcher", "joblib"): ("joblib", "hydra-joblib-launcher"),
    ("hydra/launcher", "submitit_local"): ("submitit", "hydra-submitit-launcher"),
    ("hydra/launcher", "submitit_slurm"): ("submitit", "hydra-submitit-launcher"),
    ("hydra/launcher", "ray"): ("ray", "hydra-ray-launcher"),
    ("hydra/sweeper", "optuna"): ("optuna", "hydra-optuna-sweeper"),
}
# What differs from the plugins' own defaults.
VALUES: dict[tuple[str, str], dict[str, Any]] = {
    ("hydra/launcher", "ray"): {
        "ray": {
            "init": {"object_store_memory": None},  # a cluster that runs already refuses a number
            "remote": {"num_cpus": 1, "num_gpus": 0, "max_retries": 3},
        }
    },
    ("hydra/sweeper", "optuna"): {
        "direction": "maximize",  # the validation accuracy
        "n_jobs": 1,  # trials at a time; each batch is drawn before any of it is known
    },
    ("hydra/sweeper/sampler", "tpe"): {"seed": 0},  # the same command makes the same trials
    ("hydra/sweeper/sampler", "random"): {"seed": 0},
}


def check_extra(group: str, option: object) -> None:
    """Refuse a launcher or sweeper whose package is not installed."""
    extra, package = EXTRAS.get((group, str(option)), ("", ""))
    try:
        if extra:
            version(package)
    except PackageNotFoundError:
        raise ConfigError(f"{group}={option} needs an extra", f"uv sync --extra {extra}") from None


def set_plugins() -> None:
    """Give the plugins that are installed the values that nnexp wants; settings can change them."""
    from hydra.core.config_store import ConfigStore  # completion reads EXTRAS without it
    from hydra.core.object_type import ObjectType
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    for (group, option), values in VALUES.items():
        path = f"{group}/{option}.yaml"
        if store.get_type(path) == ObjectType.CONFIG:
            # changed where it is: Hydra 1.4 warns of storing it anew
            kept: Any = reduce(dict.__getitem__, path.split("/"), store.repo)
            kept.node = OmegaConf.merge(kept.node, values)
