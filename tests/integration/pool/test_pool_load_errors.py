from typing import Any

import pytest

from kontinue_engine.errors import AppLoadFailedError


async def test_an_import_error_is_reported_with_its_traceback(start_pool: Any) -> None:
    """The user sees the line of their module that failed."""
    with pytest.raises(
        AppLoadFailedError, match="importing 'tasks' failed: ZeroDivisionError: division by zero"
    ) as caught:
        await start_pool("def f():\n    return 1 / 0\nf()", header="")
    assert 'tasks.py", line 2, in f' in caught.value.traceback
    assert "kontinue_engine" not in caught.value.traceback


async def test_a_module_without_an_app_says_what_it_has(start_pool: Any) -> None:
    """The message lists what was found instead."""
    with pytest.raises(AppLoadFailedError, match="has no attribute 'app'; it defines handler, limit and no App"):
        await start_pool("def handler(): ...\nlimit = 3", header="")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os; os._exit(3)", "the process that imports tasks:app exited with status 3"),
        ("import ctypes; ctypes.string_at(0)", "the process that imports tasks:app was killed by SIGSEGV"),
    ],
)
async def test_a_module_that_ends_the_process_is_reported(start_pool: Any, source: str, message: str) -> None:
    """Also an import that takes the whole process down gives an error, with what was written last."""
    with pytest.raises(AppLoadFailedError, match=message) as caught:
        await start_pool("print('so far so good', flush=True)\n" + source, header="")
    assert "so far so good" in caught.value.traceback


async def test_what_the_import_prints_is_logged(start_pool: Any) -> None:
    """Print and raw writes at import disturb no protocol."""
    source = (
        "print('hello')\nos.write(1, b'raw\\n')\nprint('oops', file=sys.stderr)\n@app.function\ndef f() -> None: ..."
    )
    running = await start_pool(source)
    await running.heard.until(lambda: len(running.heard.lines) == 3)
    assert [(line.activation, line.text) for _, line in running.heard.lines] == [(0, "hello"), (0, "raw"), (0, "oops")]
