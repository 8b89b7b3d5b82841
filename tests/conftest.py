import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
from hydra.core.config_store import ConfigStore
from processes import Starter, starting

from nnexp.settings import (
    TABLES,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TraceConfig,
    plugins,
)

mpl.use("Agg")
MOST_WORKERS = 4  # each takes 2 GB of memory
MEMORY = Path("/dev/shm")  # Linux keeps files there in memory


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' folders in memory, and compiled modules where Python is told not to.

    A run waits for the disk 43 times, which takes a third of a second, and a process compiles torch
    in 6 seconds.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        memory = os.statvfs(MEMORY)
        if memory.f_bavail * memory.f_frsize > 2**31 and not memory.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(config.rootpath / ".pytest_cache/bytecode")
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    config.add_cleanup(gc.unfreeze)  # after pytest's own five searches for garbage at the end


def pytest_collection_finish() -> None:
    """Search for garbage more rarely, and not in what was imported: a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use every core for the whole suite, and no second process for the files that are named."""
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(os.cpu_count() or 1, MOST_WORKERS) if is_whole else 0


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny tensors: to hand them over to other threads costs more than the work."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nnexp() -> Iterator[Starter]:
    """Give what runs a command of nnexp in a process of its own, in a tenth of a second."""
    with starting() as starter:
        yield starter


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's cache and runs."""
    cache = os.environ.get("NNEXP_TEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NNEXP_CACHE", cache)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _own_entries() -> Iterator[None]:
    """Take what a test has entered into the tables of names out again."""
    before = {group: dict(table) for group, table in TABLES.items()}
    yield
    for group, entries in before.items():
        TABLES[group].clear()
        TABLES[group].update(entries)
        ConfigStore.instance().repo.pop(group, None)  # what Hydra was told of them
    plugins._loaded.clear()


def tiny_run(folder: Path) -> ExperimentConfig:
    """Return a run of a second: three epochs of eight steps, the last batch of each short."""
    return ExperimentConfig(
        model=ModelConfig(name="baseline", width=0.25, dropout=0.5),
        data=DataConfig(name="synthetic", train_images=120, val_images=40, test_images=40),
        optimizer=OptimizerConfig(learning_rate_scaling="none"),
        trace=TraceConfig(points=10, channels=2),
        batch_size=16,
        epochs=3,
        threads=1,
        device="cpu",
        runs_dir=str(folder / "runs"),
    )


@pytest.fixture
def tiny(tmp_path: Path) -> ExperimentConfig:
    return tiny_run(tmp_path)


@pytest.fixture(scope="module")
def module_tiny(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """The same run, in a folder that the tests of a file share."""
    return tiny_run(tmp_path_factory.mktemp("shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
