"""A source: CIFAR-10 and CIFAR-100 by torchvision, fetched once, verified, decoded once."""

import http.client
import shutil
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.data.cache import (
    Examples,
    Progress,
    Source,
    cache_home,
    cached,
    fingerprint,
    scratch_folder,
)
from nnexp.settings import ConfigError, DataConfig

TIMEOUT = 10.0  # seconds of silence after which a download is given up
PIECE = 1 << 18  # bytes


def load_cifar(dataset_name: str, config: DataConfig, progress: Progress) -> Source:
    """Return CIFAR10 or CIFAR100 (Krizhevsky 2009): 50,000 + 10,000 photographs, 10 or 100 classes.

    The name is that of torchvision's class.
    """
    name = dataset_name.lower()
    home = cache_home(config)
    root = Path(config.root).expanduser() if config.root else home / "downloads"

    def decode() -> Source:
        import torchvision.datasets  # seconds, and only where nothing is cached yet

        dataset = getattr(torchvision.datasets, dataset_name)
        scratch = scratch_folder(home)
        try:
            return _decode(dataset, _unpacked_root(name, dataset, root, scratch, progress))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    return cached(home / name, decode, progress)


def _unpacked_root(name: str, dataset: Any, root: Path, scratch: Path, progress: Progress) -> Path:
    """Return a folder that torchvision accepts: `root` if it is unpacked there, else `scratch`.

    The archive is fetched into `root` if it is not there, and unpacked aside, so that `root` may
    be read-only and two processes do not write over each other.
    """
    from torchvision.datasets.utils import check_integrity, extract_archive

    if (root / dataset.base_folder).is_dir():
        return root
    archive = (root / dataset.filename).absolute()
    if not archive.exists():
        _download(name, dataset, archive, progress)
    progress("verifying the archive", 0, 0)
    if not check_integrity(archive, dataset.tgz_md5):
        raise ConfigError(
            f"{archive} is not the official {name} archive: its md5 is another",
            _ways_on(dataset, archive),
        )
    extract_archive(archive, scratch)
    return scratch


def _download(name: str, dataset: Any, archive: Path, progress: Progress) -> None:
    """Fetch the archive, and put it in place only when it is whole and right."""
    from torchvision.datasets.utils import check_integrity

    scratch = scratch_folder(archive.parent)
    part = scratch / dataset.filename
    try:
        _fetch(dataset.url, part, lambda done, of: progress(f"downloading {name}", done, of))
        if not check_integrity(part, dataset.tgz_md5):
            raise OSError("what came has another md5")
        part.rename(archive)
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(
            f"{name} cannot be had: no archive in {archive.parent}, and its download failed"
            f" ({getattr(error, 'reason', error)})",
            _ways_on(dataset, archive),
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch(url: str, path: Path, report: Callable[[int, int], None]) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "nnexp"})
    opener = urllib.request.build_opener()  # reads the proxy settings as they are now
    with opener.open(request, timeout=TIMEOUT) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        while piece := answer.read(PIECE):
            file.write(piece)
            report(file.tell(), total)


def _ways_on(dataset: Any, archive: Path) -> str:
    return (
        f"put the archive at {archive} (md5 {dataset.tgz_md5}),"
        " or use data=folder data.root=FOLDER, or data=synthetic"
    )


def _decode(dataset: Any, root: Path) -> Source:
    """Return both halves; torchvision checks the md5 of every file before it unpickles it."""
    with warnings.catch_warnings():
        # The official pickles say align=0 where NumPy 2.4 wants False (pytorch/vision#9340).
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        try:
            train = dataset(root, train=True)
            test = dataset(root, train=False)
        except RuntimeError as error:
            raise ConfigError(
                f"{root / dataset.base_folder} is incomplete or altered",
                "remove that folder, and the archive is unpacked, or fetched, again",
            ) from error
    halves = _examples(train), _examples(test)
    classes = tuple(train.classes)
    return Source(
        classes=classes,
        train=halves[0],
        test=halves[1],
        fingerprint=fingerprint(classes, *halves),
    )


def _examples(dataset: Any) -> Examples:
    images_NHWC = dataset.data
    return Examples(
        np.ascontiguousarray(images_NHWC.transpose(0, 3, 1, 2)),
        np.array(dataset.targets, dtype=np.int64),
    )
