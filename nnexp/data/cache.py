"""Keeps decoded images on disk: written once, whole or not at all, mapped by every later run."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol

import numpy as np

from nnexp.settings import ConfigError, DataConfig

VERSION = 1  # of the layout on disk and of the decoding; another number decodes again
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
DAMAGE = (
    OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, TokenError,
)  # fmt: skip  # what reading damaged files raises; NumPy parses its header as Python
DAY = 86400.0

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


def report_nothing(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


class Pixels(Protocol):
    """uint8 images (N, 3, 32, 32), mapped or made as they are asked for."""

    def __getitem__(self, indices: Any, /) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Examples:
    """The images of one half of a source, and their labels, int64 (N,).

    Raises:
        ConfigError: They are of another type or size.
    """

    images: Pixels
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what a data source of the user's own may give by mistake."""
        dtype, shape = (getattr(self.images, name, None) for name in ("dtype", "shape"))
        if shape is not None and (dtype != np.uint8 or shape[1:] != (3, 32, 32)):
            raise ConfigError(
                f"images of a data source cannot be {dtype} of the shape {tuple(shape)}",
                "give a NumPy array of uint8, N×3×32×32",
            )
        dtype, count = getattr(self.labels, "dtype", None), None if shape is None else shape[0]
        if not isinstance(dtype, np.dtype) or dtype.kind not in "iu":
            raise ConfigError(
                f"labels of a data source cannot be {dtype or type(self.labels).__name__}",
                "give a NumPy array of whole numbers, one for each image",
            )
        if count not in (None, len(self.labels)):
            raise ConfigError(
                f"a data source has {count} images and {len(self.labels)} labels",
                "give one label for each image",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A whole data set, before a run's images are chosen from it.

    Args:
        fingerprint: What `fingerprint` says of its content.
        fingerprinted: Images at the head of each half that `fingerprint` covers; unset: all.
        place: Where the decoded images lie, for people to read.

    Raises:
        ConfigError: A label is the number of no class.
    """

    classes: tuple[str, ...]
    train: Examples
    test: Examples
    fingerprint: str
    fingerprinted: int | None = None
    place: str = "in memory"

    def __post_init__(self) -> None:
        """Refuse labels that stand for no class."""
        last = len(self.classes) - 1
        for labels in (self.train.labels, self.test.labels):
            if len(labels) and not 0 <= labels.min() <= labels.max() <= last:
                raise ConfigError(
                    f"labels of a data source cannot be from {labels.min()} to {labels.max()} "
                    f"with {last + 1} classes",
                    f"give numbers from 0 to {last}, in the order of the classes",
                )


def cache_home(config: DataConfig) -> Path:
    """Return the folder of all decoded images: the setting, or the user's cache folder."""
    if config.cache_dir is not None:
        return Path(config.cache_dir).expanduser()
    if os.environ.get("NNEXP_CACHE"):
        return Path(os.environ["NNEXP_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnexp"


def fingerprint(
    classes: Iterable[str], train: Examples, test: Examples, first: int | None = None
) -> str:
    """Return a digest of what the pictures show, whatever files they came from.

    SHA-256 over the class names as a JSON list, then, for train and for test, the labels as
    little-endian int64 and the images' bytes in (N, 3, 32, 32) order.

    Args:
        first: Images of each half to read, from the first on; unset: all.
    """
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for examples in (train, test):
        count = len(examples.labels) if first is None else min(first, len(examples.labels))
        digest.update(examples.labels.astype("<i8").tobytes())
        for start in range(0, count, 4096):
            images = examples.images[start : min(start + 4096, count)]
            digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def cached(folder: Path, decode: Callable[[], Source], progress: Progress) -> Source:
    """Return the images in `folder`, after `decode` has filled it if it was not there.

    A cache that is damaged, or whose content has changed, is named through `progress` and replaced.

    Raises:
        ConfigError: The folder cannot be written, or is damaged and `decode` fails.
    """
    try:
        if not folder.is_dir():
            return _build(folder, decode())
        try:
            return _open(folder)
        except DAMAGE as error:
            progress(f"{folder} is damaged ({error}): decoding again", 0, 0)
            damage = error
        try:
            decoded = decode()
        except ConfigError as error:
            raise ConfigError(
                f"{folder} is damaged ({damage}) and cannot be decoded again: {error.problem}",
                error.remedy,
            ) from error
        _remove(folder)
        return _build(folder, decoded)
    except OSError as error:
        raise ConfigError(
            f"the decoded images cannot be put into {folder}: {error}",
            "make room there, or choose another folder with data.cache_dir=FOLDER",
        ) from error


def scratch_folder(home: Path) -> Path:
    """Return a new, empty folder in `home`, after clearing away what killed processes left."""
    home.mkdir(parents=True, exist_ok=True)
    for stale in home.glob(".building-*"):
        with suppress(FileNotFoundError):  # its process has just finished
            if time.time() - stale.stat().st_mtime > DAY:
                shutil.rmtree(stale, ignore_errors=True)
    scratch = home / f".building-{secrets.token_hex(8)}"
    scratch.mkdir()  # not mkdtemp: what is renamed into place is for everyone to read
    return scratch


def _open(folder: Path, place: Path | None = None) -> Source:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if meta["version"] != VERSION:
        raise ValueError(f"it is of version {meta['version']}, this is version {VERSION}")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    for half in ("train", "test"):
        count = meta[half]
        images, labels = arrays[f"{half}_images"], arrays[f"{half}_labels"]
        if images.shape != (count, 3, 32, 32) or images.dtype != np.uint8:
            raise ValueError(f"{half}_images.npy does not hold {count} images")
        if labels.shape != (count,) or labels.dtype != np.int64:
            raise ValueError(f"{half}_labels.npy does not hold {count} labels")
    train, test = (
        Examples(np.asarray(arrays[f"{half}_images"]), np.array(arrays[f"{half}_labels"]))
        for half in ("train", "test")
    )
    _check_content(meta, train, test)
    return Source(
        classes=tuple(meta["classes"]),
        train=train,
        test=test,
        fingerprint=meta["fingerprint"],
        fingerprinted=meta["fingerprinted"],
        place=str(place or folder),
    )


def _check_content(meta: dict[str, Any], train: Examples, test: Examples) -> None:
    """Refuse classes, labels or images that are not those that were decoded.

    Reads everything, each time: 0.1 s for the 184 MB of CIFAR where the processor has SHA
    instructions, less than 0.5 s elsewhere.
    """
    # Before there was a `digest`, only a fingerprint of all images could take its place.
    expected = {
        None: meta.get("digest", meta["fingerprint"]),
        meta["fingerprinted"]: meta["fingerprint"],
    }
    for first, digest in expected.items():
        if fingerprint(meta["classes"], train, test, first) != digest:
            raise ValueError("its content does not match its digest")


def _build(folder: Path, decoded: Source) -> Source:
    """Write `decoded` beside `folder` and rename it into place: half a cache is never seen."""
    scratch = scratch_folder(folder.parent)
    try:
        _write(scratch, decoded)
        source = _open(scratch, place=folder)  # mapped: stays ours, whatever becomes of the folder
        try:
            scratch.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another process was first, with the same content: ours goes.
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return source


def _write(folder: Path, source: Source) -> None:
    train = Examples(source.train.images[:], source.train.labels)
    test = Examples(source.test.images[:], source.test.labels)
    arrays = (train.images, train.labels, test.images, test.labels)
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", np.asarray(array))
        _sync(folder / f"{name}.npy")
    meta = {
        "version": VERSION,
        "classes": source.classes,
        "train": len(train.labels),
        "test": len(test.labels),
        "fingerprint": source.fingerprint,
        "fingerprinted": source.fingerprinted,
        "digest": fingerprint(source.classes, train, test),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1), "utf-8")
    _sync(folder / "meta.json")
    _sync(folder)


def _remove(folder: Path) -> None:
    # Out of sight by one rename, so that nobody opens it while its files go one by one.
    aside = scratch_folder(folder.parent)
    with suppress(FileNotFoundError):  # another process was first
        folder.rename(aside / folder.name)
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
