import hashlib
import pickle
import socket
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from photos import refusal
from torchvision.datasets import CIFAR10, CIFAR100

from nnexp.data import cifar, load_images
from nnexp.settings import DataConfig

NAMES = ["plane", "car"]


class OldType:
    """Pickles as in the official archives, with an align of 0, of which NumPy 2.4 warns."""

    def __reduce__(self) -> tuple[type[np.dtype], tuple[str, int, bool]]:
        return np.dtype, ("u1", 0, True)


class OldArray:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> tuple[object, ...]:
        rebuild, empty, _ = self.array.__reduce__()
        return rebuild, empty, (1, self.array.shape, OldType(), False, self.array.tobytes())


def write_batch(path: Path, seed: int, label_key: str) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 3072), dtype=np.uint8)
    path.write_bytes(pickle.dumps({"data": OldArray(pixels), label_key: [0, 1] * 4}))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=["cifar10", "cifar100"])
def official(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """An archive of sixteen images that torchvision takes for the official one."""
    dataset = request.param
    label_key = "labels" if dataset is CIFAR10 else "fine_labels"
    folder = tmp_path / "made" / dataset.base_folder
    folder.mkdir(parents=True)
    md5s = {name: write_batch(folder / name, k, label_key) for k, name in enumerate("ab")}
    meta = folder / dataset.meta["filename"]
    meta.write_bytes(pickle.dumps({dataset.meta["key"]: NAMES}))
    archive = tmp_path / "made" / dataset.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, dataset.base_folder)
    monkeypatch.setattr(dataset, "url", archive.as_uri())
    monkeypatch.setattr(dataset, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(dataset, "train_list", [["a", md5s["a"]]])
    monkeypatch.setattr(dataset, "test_list", [["b", md5s["b"]]])
    md5 = hashlib.md5(meta.read_bytes()).hexdigest()
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5})
    config = DataConfig(
        name=request.param.__name__.lower(), cache_dir=str(tmp_path / "cache"), val_images=2
    )
    return SimpleNamespace(dataset=dataset, archive=archive, folder=folder, config=config)


def test_the_archive_is_fetched_once_verified_and_decoded(official: SimpleNamespace) -> None:
    said = []
    images = load_images(official.config, lambda *progress: said.append(progress))
    size = official.archive.stat().st_size
    assert said[0] == (f"downloading {official.config.name}", size, size)
    assert images.classes == tuple(NAMES)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    assert np.array_equal(images.test.images.numpy(), pixels)
    assert images.test.labels.tolist() == [0, 1] * 4
    home = Path(str(official.config.cache_dir))
    assert sorted(path.name for path in home.iterdir()) == [official.config.name, "downloads"]
    assert [path.name for path in (home / "downloads").iterdir()] == [official.dataset.filename]
    official.archive.unlink()
    (home / "downloads" / official.dataset.filename).unlink()
    assert load_images(official.config).fingerprint == images.fingerprint


@pytest.mark.parametrize("what", ["archive", "folder"])
def test_what_lies_in_the_root_is_used_and_nothing_fetched(
    official: SimpleNamespace, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = official.archive.parent
    if what == "folder":
        official.archive.unlink()
    monkeypatch.setattr(official.dataset, "url", "file:///nowhere")
    official.config.root = str(root)
    before = sorted(root.rglob("*"))
    assert len(load_images(official.config).train) == 6
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("whence", ["fetched", "put there"])
def test_an_archive_with_another_checksum_is_never_opened(
    official: SimpleNamespace, whence: str, tmp_path: Path
) -> None:
    with official.archive.open("ab") as file:
        file.write(b"more")
    if whence == "put there":
        root = tmp_path / "root"
        root.mkdir()
        official.archive.rename(root / official.dataset.filename)
        official.config.root = str(root)
    error = refusal(official.config)
    assert "md5" in error.problem
    assert "put the archive at" in error.remedy
    assert not (tmp_path / "cache" / official.config.name).exists()
    assert not any((tmp_path / "cache").rglob(official.dataset.filename))


def test_an_altered_file_is_never_unpickled(official: SimpleNamespace) -> None:
    official.config.root = str(official.archive.parent)
    with (official.folder / "b").open("ab") as file:
        file.write(b"more")
    assert "incomplete or altered" in refusal(official.config).problem


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "cifar-10-python.tar.gz"), ("cifar100", "cifar-100-python.tar.gz")],
)
def test_without_a_network_three_ways_on_are_named_at_once(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens: every way out is refused
        for variable in ("https_proxy", "http_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        error = refusal(DataConfig(name=name, cache_dir=str(tmp_path / "cache")))
    archive = tmp_path / "cache" / "downloads" / file
    assert error.problem.startswith(f"{name} cannot be had: no archive in {archive.parent}")
    assert "refused" in error.problem
    assert f"put the archive at {archive} (md5 " in error.remedy
    assert "data=folder data.root=FOLDER" in error.remedy
    assert "data=synthetic" in error.remedy
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_network_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silence:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silence.getsockname()[1]}")
        error = refusal(DataConfig(name="cifar10", cache_dir=str(tmp_path / "cache")))
    assert "timed out" in error.problem
