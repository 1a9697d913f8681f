"""``assert_replays`` and the fixture for it: histories of production against the code that is about to be deployed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from kontinue import App
from kontinue.api.v1alpha1 import Execution
from kontinue_engine.errors import AppLoadFailedError
from kontinue_engine.replaying.histories import HistoryError
from kontinue_engine.testing import SyncTestEnvironment, assert_replays

pytestmark = pytest.mark.slow

SHOP = """
from datetime import timedelta

from kontinue import App, ExecutionContext, step

app = App(group="shop")
charged = []


@step
async def charge(order: str) -> str:
    charged.append(order)
    return f"receipt for {order}"


@app.function
async def fulfil(ctx: ExecutionContext, order: str) -> str:
    receipt = await ctx.step(charge, order)
    await ctx.sleep(timedelta(days=30), display_name="trial")
    return receipt
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The code that has recorded; ``edited_shop`` beside it asks for another step first."""
    (tmp_path / "replayed_shop.py").write_text(SHOP)
    (tmp_path / "edited_shop.py").write_text(SHOP.replace("ctx.step(charge, order)", "ctx.step(charge, order.upper())"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("replayed_shop")
    for name in ("replayed_shop", "edited_shop"):
        sys.modules.pop(name, None)


@pytest.fixture
def recorded(shop: ModuleType) -> Execution:
    """An Execution that sleeps."""
    with SyncTestEnvironment() as env:
        env.use(shop.app)
        run = env.spawn(shop.fulfil, "hat")
        run.suspension("trial")
        return run.get()


def test_the_code_that_has_recorded_replays_and_starts_nothing(shop: ModuleType, recorded: Execution) -> None:
    """By its name, or by the App itself."""
    shop.charged.clear()
    assert_replays("replayed_shop:app", recorded)
    assert_replays(shop.app, recorded)
    assert shop.charged == []


def test_code_that_asks_for_something_else_is_told_with_both_sides(recorded: Execution) -> None:
    """All that do not fit, and of how many."""
    with pytest.raises(AssertionError) as caught:
        assert_replays("edited_shop:app", recorded, recorded)
    text = str(caught.value)
    assert text.startswith("2 of 2 histories do not fit edited_shop:app\n")
    assert f"{recorded.metadata.name} differs at step 1:\n  recorded:  step charge (arguments digest " in text
    assert "\n  requested: step charge (arguments digest " in text
    assert "/edited_shop.py:18, by build " in text


def test_files_and_folders_are_found_from_the_folder_of_the_test(
    recorded: Execution, tmp_path: Path, kontinue_replay: Callable[..., None]
) -> None:
    """The fixture takes the folder of the test; without it, it is an argument."""
    (tmp_path / "histories").mkdir()
    (tmp_path / "histories" / "one.json").write_bytes(msgspec.json.encode(recorded))
    (tmp_path / "histories" / "README.md").write_text("not a history")
    assert_replays("replayed_shop:app", "histories", "histories/one.json", folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="integration/testing/histories"):
        kontinue_replay("replayed_shop:app", "histories/one.json")
    kontinue_replay("replayed_shop:app", tmp_path / "histories")


def test_what_was_not_checked_is_no_success(recorded: Execution, tmp_path: Path) -> None:
    """An empty folder, an app that cannot be found, a history that is not whole."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(HistoryError, match="empty has no files"):
        assert_replays("replayed_shop:app", "empty", folder=tmp_path)
    with pytest.raises(HistoryError, match="stands in no module by itself"):
        assert_replays(App(group="nowhere"), recorded)
    with pytest.raises(AppLoadFailedError, match="there is no module 'gone'"):
        assert_replays("gone:app", recorded)
    with pytest.raises(ValueError, match="no histories"):
        assert_replays("replayed_shop:app")
