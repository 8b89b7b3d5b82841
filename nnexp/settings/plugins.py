"""Plug-ins: Python files and packages of the user's own, imported because the user named them."""

import hashlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from nnexp.settings.errors import ConfigError
from nnexp.settings.schema import ExperimentConfig
from nnexp.settings.tables import TABLES, additions, entries_from

ENVIRONMENT = "NNEXP_PLUGINS"  # names with a comma between them
GROUP = "nnexp.plugins"  # the entry points of packages that are installed
SESSION = "defined in Python"  # the code of an entry that is in no plug-in
NNEXP = f"{Path(__file__).parents[1]}{os.sep}"
DIGITS = 16  # of a SHA-256
_loaded: dict[str, str] = {}  # plug-in → what it was when it was imported


def plugins_of_environment() -> list[str]:
    """Return the plug-ins that the environment variable names."""
    return [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",") if name.strip()]


def names_plugins(word: str) -> bool:
    """Return whether an override sets the plug-ins."""
    return word.lstrip("+~").startswith(("plugins=", "plugins.", "plugins@"))


def load_plugins(names: Iterable[str], folder: Path = Path()) -> None:
    """Import the installed plug-ins and those that the user named, each once while it is the same.

    Args:
        names: Python files, which end in `.py`, and modules. Never taken from a file of settings.
        folder: Where relative names of files count from.

    Raises:
        ConfigError: One of them cannot be imported; says where.
    """
    for point in entry_points(group=GROUP):
        dist = point.dist
        source = f"{dist.name} {dist.version}" if dist else point.value
        _load(point.value, source, point.load)
    for name in names:
        if name.endswith(".py"):
            _load_file(folder, name)
        else:
            _load(name, _source_of_module(name), lambda name=name: importlib.import_module(name))


def load_plugins_of(config: ExperimentConfig) -> None:
    """Import what a job needs in the process that trains it.

    Raises:
        ConfigError: A plug-in cannot be imported, or is not what the job was composed with.
    """
    load_plugins(config.plugins)
    check_code(config)


def check_code(config: ExperimentConfig) -> None:
    """Refuse settings that were composed when a user's entry was another text.

    Raises:
        ConfigError: Names the entry.
    """
    here = code_of(config)
    for key, code in config.code.items():
        now = here.get(key, "not known")
        if now != code:
            raise ConfigError(
                f"{key} is {now} now, and was {code} when the settings were made",
                "compose the settings again; leave plug-ins as they are while a sweep runs",
            )


def code_of(config: ExperimentConfig) -> dict[str, str]:
    """Return where the user's own code that a run uses comes from: `norm.rms` → file and hash."""
    parts = ("norm", "model", "data", "optimizer", "schedule")
    used = {(part, getattr(config, part).name) for part in parts}
    used |= {("norm", name) for name in config.norm.at.values()}
    return {
        f"{group}.{name}": additions(group)[name].source or _source_in_python(group, name)
        for group, name in sorted(used)
        if name in additions(group)
    }


def refuse_session_code(configs: Iterable[ExperimentConfig]) -> None:
    """Refuse entries that other processes could not import."""
    for config in configs:
        for key, code in config.code.items():
            if code.startswith(SESSION):
                group, _, name = key.partition(".")
                raise ConfigError(
                    f"{group} {name!r} is defined in this session alone",
                    "put it into a file, and name that: plugins=[FILE.py]",
                )


def _load_file(folder: Path, name: str) -> None:
    path = (folder / Path(name).expanduser()).absolute()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"plug-in {name} cannot be read: {(error.strerror or str(error)).lower()}",
            "write a Python file, or a module without .py: plugins=[FILE.py]",
        ) from error

    def run() -> None:
        # not by an importer, whose cached byte code may be that of an older text
        module = ModuleType(f"nnexp_plugin_{path.stem}_{_digest(str(path).encode())}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module
        exec(compile(text, str(path), "exec"), module.__dict__)

    _load(str(path), f"{path.name} sha256:{_digest(text)}", run)


def _load(name: str, source: str, load: Callable[[], Any]) -> None:
    if _loaded.get(name) == source:
        return
    try:
        with entries_from(source):
            load()
    except ConfigError as error:
        remedy = f"{_place(error, {name})}: {error.remedy}"
        raise ConfigError(f"plug-in {name}: {error.problem}", remedy) from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"plug-in {name}: {_described(error)}", _place(error, {name})) from error
    _loaded[name] = source


@contextmanager
def explaining_plugins() -> Iterator[None]:
    """Turn an error in the code of a plug-in into a ConfigError that says where."""
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        modules = [sys.modules[name] for name in _loaded if name in sys.modules]
        files = {*_loaded, *(str(module.__file__) for module in modules)}
        frames = traceback.extract_tb(error.__traceback__)
        if not (files & {frame.filename for frame in frames}):
            raise
        raise ConfigError(
            f"error in a plug-in: {_described(error)}", _place(error, files)
        ) from error


def _described(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = text.partition("\n")[0]
    return f"{type(error).__name__}: {first}"


def _place(error: BaseException, files: Set[str]) -> str:
    """Return the file and line that an error comes from: in `files`, else outside of nnexp."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    foreign = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", NNEXP))
        and Path(frame.filename).parent.name != "importlib"
    ]
    if not foreign:
        return "it has to be a Python file, or a module that Python finds on its path"
    last = [*foreign, *(frame for frame in foreign if frame.filename in files)][-1]
    return f"{last.filename}, line {last.lineno}"


def _source_of_module(name: str) -> str:
    """Return a module's distribution and version; of a module of no distribution, its hash."""
    top = name.partition(".")[0]
    for distribution in packages_distributions().get(top, ()):
        return f"{distribution} {version(distribution)}"
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"no module {name!r} for plugins",
            "write a file that ends in .py, or a module that Python finds on its path",
        )
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    digests = "".join(
        f"{file.relative_to(origin.parent).as_posix()} {_digest(file.read_bytes())}\n"
        for file in files
    )
    return f"{top} sha256:{_digest(digests.encode())}"


def _source_in_python(group: str, name: str) -> str:
    entry = TABLES[group][name]
    parts = [getattr(entry, one.name) for one in fields(entry)] if is_dataclass(entry) else [entry]
    try:
        text = "\n".join(inspect.getsource(one) if callable(one) else repr(one) for one in parts)
    except (OSError, TypeError):  # typed where Python keeps no text
        return SESSION
    return f"{SESSION}, sha256:{_digest(text.encode())}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
