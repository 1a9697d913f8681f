import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kontinue_engine.runner import loader

APP = """
from kontinue.app import App
app = App(group="shop")

@app.function
def price(article: str, *, count: int = 1) -> float:
    '''Price of an article.'''
    return 1.5 * count

@app.function(limit=3, hidden=True)
async def ship(article: str) -> None: ...
"""


@pytest.fixture(autouse=True)
def _fresh_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def _write(folder: Path, **sources: str) -> str:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return str(folder)


def test_an_app_is_loaded_and_described(tmp_path: Path) -> None:
    """The supervisor learns names, colours, schemas and options."""
    app = loader.load_app("shop_tasks:app", _write(tmp_path, shop_tasks=APP))
    price, ship = loader.describe_functions(app.functions)
    assert app.group == "shop"
    assert (price.name, price.is_async, price.takes_context, price.limit, price.hidden) == (
        "price",
        False,
        False,
        0,
        False,
    )
    assert price.description == "Price of an article."
    assert set(msgspec.json.decode(price.arguments_schema)["properties"]) == {"article", "count"}
    assert msgspec.json.decode(price.result_schema)["type"] == "number"
    assert (ship.name, ship.is_async, ship.limit, ship.hidden) == ("ship", True, 3, True)


@pytest.mark.parametrize(
    ("spec", "source", "message"),
    [
        (
            "../w/app:app",
            "",
            "name the module as an import does, and its folder by --app-dir: app:app --app-dir ../w",
        ),
        ("./app.py:app", "", "'./app.py' is a path: name the module as an import does: app:app"),
        (".app:app", "", "'.app' is no name of a module: name it as an import does, for example app:app"),
        ("app.:app", "", "'app.' is no name of a module: name it as an import does, for example app:app"),
        ("broken", "", "'broken' does not name an App: write module:attribute, for example tasks:app"),
        ("borken:app", "", "there is no module 'borken' in {root}; did you mean 'broken'?"),
        ("zzz:app", "", "there is no module 'zzz' in {root}; modules there: broken"),
        ("broken:app", "1 / 0", "importing 'broken' failed: ZeroDivisionError: division by zero"),
        ("broken:app", "import surely_missing", "importing 'broken' failed: ModuleNotFoundError: No module named"),
        ("broken:app", "raise SystemExit(3)", "importing 'broken' failed: SystemExit: 3"),
        ("broken:app", "def f(:", "importing 'broken' failed: SyntaxError: invalid syntax"),
        ("broken:app", "x = 1\ny = 2", "has no attribute 'app'; it defines x, y and no App"),
        ("broken:app", "", "has no attribute 'app'; it defines nothing"),
        ("broken:application", APP, "has no attribute 'application'; did you mean broken:app?"),
        ("broken:price", APP, "is not an App but FunctionDefinition; did you mean broken:app?"),
        ("broken:app", "app = {}", "'app' of module 'broken' ({root}/broken.py) is not an App but dict"),
        (
            "broken:app",
            "from kontinue.app import App\napp = App(group='g')",
            "has no functions: decorate one with @app.",
        ),
    ],
)
def test_an_unusable_module_says_what_was_found(tmp_path: Path, spec: str, source: str, message: str) -> None:
    """The message names the module, what is wrong, and where possible the remedy."""
    root = _write(tmp_path, broken=source)
    with pytest.raises(loader.LoadError) as caught:
        loader.load_app(spec, root)
    assert message.format(root=root) in caught.value.message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("store.jobz:app", "there is no module 'store.jobz' in {root}; did you mean 'store.jobs'?"),
        ("store.zzzzzz:app", "there is no module 'store.zzzzzz' in {root}; modules there: store.jobs, store.tools"),
        (
            "store.jobs.more:app",
            "there is no module 'store.jobs.more' in {root}: 'store.jobs' is a module, not a package",
        ),
        ("store.empty.more:app", "there is no module 'store.empty.more' in {root}; there are no Python files there"),
        ("stone.jobs:app", "there is no module 'stone' in {root}; modules there: other"),
    ],
)
def test_a_missing_module_of_a_package_is_told_with_those_that_it_has(tmp_path: Path, spec: str, message: str) -> None:
    """What stands beside the package is no help."""
    _write(tmp_path, other="")
    (tmp_path / "store" / "empty").mkdir(parents=True)
    _write(tmp_path / "store", __init__="", jobs="", tools="")
    with pytest.raises(loader.LoadError) as caught:
        loader.load_app(spec, str(tmp_path))
    assert caught.value.message == message.format(root=tmp_path)


def test_the_traceback_of_an_import_error_starts_in_the_users_code(tmp_path: Path) -> None:
    """Frames of the engine and of the import system are left out."""
    root = _write(tmp_path, outer="import inner_module", inner_module="def f():\n    1 / 0\nf()")
    with pytest.raises(loader.LoadError) as caught:
        loader.load_app("outer:app", root)
    lines = caught.value.traceback.splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", f'  File "{root}/outer.py", line 1, in <module>']
    assert f'  File "{root}/inner_module.py", line 2, in f' in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "loader.py" not in caught.value.traceback


def test_the_build_changes_with_any_imported_source(tmp_path: Path) -> None:
    """A module that the app imports counts, one that it does not import does not."""
    root = _write(tmp_path, tasks_one="import helper_one\n" + APP, helper_one="x = 1", other_one="y = 1")
    loader.load_app("tasks_one:app", root)
    before = loader.build_digest(root)
    _write(tmp_path, other_one="y = 2")
    assert loader.build_digest(root) == before
    _write(tmp_path, helper_one="x = 2")
    assert loader.build_digest(root) != before


def test_the_build_names_the_python_minor_version(tmp_path: Path) -> None:
    """Another minor version is another build, also beside an explicit one."""
    suffix = f"-py{sys.version_info.major}.{sys.version_info.minor}"
    assert loader.build_digest(str(tmp_path)).endswith(suffix)
    assert loader.build_digest(str(tmp_path), override="v7") == f"v7{suffix}"
