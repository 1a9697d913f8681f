"""Internal. Imports the user's ``module:app`` and describes what it holds.

Called once by the zygote (and by each runner where fork is not safe). Everything that can be wrong with the module
becomes a ``LoadError`` whose message says what was found; nothing here talks to the supervisor.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import os
import pathlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Final

import msgspec

from kontinue.app import App
from kontinue.definition import FunctionDefinition
from kontinue_engine.wire import frames

_MAX_TRACEBACK_CHARS: Final = 8 * 1024
_OWN_PACKAGES: Final = ("kontinue", "kontinue_engine")
_Functions = Mapping[str, FunctionDefinition[..., Any]]


class LoadError(Exception):
    """The user's module cannot be used.

    Attributes:
        message: what was found.
        traceback: of the user's exception, or empty.
    """

    def __init__(self, message: str, traceback_text: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.traceback = traceback_text


def load_app(spec: str, app_dir: str) -> App:
    """Import ``module:attribute`` with ``app_dir`` first on ``sys.path``.

    Raises:
        LoadError: no such module, the import raises or exits, or there is no usable App.
    """
    module_name, colon, attribute = spec.partition(":")
    if not (module_name and colon and attribute):
        raise LoadError(f"{spec!r} does not name an App: write module:attribute, for example tasks:app")
    check_name(module_name, attribute)
    root = os.path.realpath(app_dir)
    if root not in sys.path[:1]:
        sys.path.insert(0, root)
    return _app_of(_import_module(module_name, root), attribute)


def check_name(module: str, attribute: str) -> None:
    """Refuse what Python would take for a relative import, or for a strange name.

    Raises:
        LoadError: it is a path, or has empty parts.
    """
    folder, _, file = module.rpartition("/")
    if "/" in module:
        where = "" if folder in {"", "."} else f" --app-dir {folder}"
        remedy = f"name the module as an import does{', and its folder by --app-dir' if where else ''}"
        raise LoadError(f"{module!r} is a path: {remedy}: {file.removesuffix('.py')}:{attribute}{where}")
    if not all(module.split(".")):
        raise LoadError(f"{module!r} is no name of a module: name it as an import does, for example app:app")


def _import_module(name: str, root: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise LoadError(f"there is no module {error.name!r} in {root}{_neighbours(error.name, root)}") from None
        raise LoadError(_import_failed(name, error), _user_traceback(error)) from error
    except BaseException as error:
        # Also SystemExit and KeyboardInterrupt: a script without an ``if __name__ == "__main__"`` guard calls exit.
        raise LoadError(_import_failed(name, error), _user_traceback(error)) from error


def _import_failed(name: str, error: BaseException) -> str:
    described = traceback.format_exception_only(error)[-1].strip()
    return f"importing {name!r} failed: {described}"


def _neighbours(name: str, root: str) -> str:
    package, _, _ = name.rpartition(".")
    prefix = f"{package}." if package else ""
    folders = getattr(sys.modules[package], "__path__", None) if package else [root]
    if folders is None:
        return f": {package!r} is a module, not a package"
    paths = [path for folder in folders for path in pathlib.Path(folder).glob("*.py")]
    found = sorted({prefix + path.stem for path in paths if path.stem != "__init__"})
    close = difflib.get_close_matches(name, found, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; modules there: {', '.join(found[:10])}" if found else "; there are no Python files there"


def _app_of(module: ModuleType, attribute: str) -> App:
    where = f"module {module.__name__!r} ({module.__file__})"
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    if not hasattr(module, attribute):
        if apps:
            hint = f"did you mean {module.__name__}:{apps[0]}?"
        else:
            names = [name for name in vars(module) if not name.startswith("_")]
            hint = f"it defines {', '.join(names[:10])} and no App" if names else "it defines nothing"
        raise LoadError(f"{where} has no attribute {attribute!r}; {hint}")
    app = getattr(module, attribute)
    if not isinstance(app, App):
        hint = f"; did you mean {module.__name__}:{apps[0]}?" if apps else ""
        raise LoadError(f"{attribute!r} of {where} is not an App but {type(app).__qualname__}{hint}")
    if not app.functions:
        raise LoadError(f"the App {attribute!r} of {where} has no functions: decorate one with @{attribute}.function")
    return app


def _user_traceback(error: BaseException) -> str:
    frame = error.__traceback__
    while frame is not None and _is_machinery(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    text = "".join(traceback.format_exception(type(error), error, frame))
    return text if len(text) <= _MAX_TRACEBACK_CHARS else f"...\n{text[-_MAX_TRACEBACK_CHARS:]}"


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


def build_digest(app_dir: str, *, override: str = "") -> str:
    """Return what identifies the user's code: its sources as imported now, and the Python minor version.

    Another minor version schedules tasks differently, so it counts as another build also beside ``override``.
    """
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    if override:
        return f"{override}-{python}"
    digest = hashlib.blake2b(digest_size=8)
    for relative, path in sorted(_sources(os.path.realpath(app_dir))):
        digest.update(relative.encode() + b"\0")
        digest.update(pathlib.Path(path).read_bytes() + b"\0")
    return f"{digest.hexdigest()}-{python}"


def _sources(root: str) -> Iterator[tuple[str, str]]:
    # The root is often a project folder that holds its virtual environment too.
    foreign = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name.partition(".")[0] in _OWN_PACKAGES:
            continue
        path = os.path.realpath(file)
        if os.path.isfile(path) and _is_below(path, root) and not any(_is_below(path, folder) for folder in foreign):
            yield os.path.relpath(path, root), path


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def describe_functions(functions: _Functions) -> list[frames.FunctionDescription]:
    """Describe functions for the supervisor, sorted by name."""
    return [_describe(functions[name]) for name in sorted(functions)]


def _describe(definition: FunctionDefinition[..., Any]) -> frames.FunctionDescription:
    defaults = definition.defaults.to_api()
    return frames.FunctionDescription(
        name=definition.name,
        is_async=definition.is_async,
        takes_context=definition.takes_context,
        description=definition.description,
        arguments_schema=msgspec.json.encode(definition.codec.arguments_schema()),
        result_schema=msgspec.json.encode(definition.codec.result_schema()),
        defaults=b"" if defaults is None else msgspec.json.encode(defaults),
        limit=definition.limit or 0,
        hidden=definition.hidden,
    )
