"""How long something is held, as command lines say it."""

from __future__ import annotations

import pytest

from kontinue_engine.cli import koncli

COMMANDS = (
    *("mutex create", "mutex lock", "mutex with", "rwmutex create", "rwmutex lock", "rwmutex rlock", "rwmutex with"),
    *("semaphore create", "semaphore acquire", "semaphore with", "lease create", "lease acquire", "lease with"),
    "once do",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ttl_that_is_over_before_it_is_heard_of_is_refused(command: str, capsys: pytest.CaptureFixture[str]):
    """Nobody could ever hold anything by it: no server is asked, and it is no success."""
    option = "--lease" if command == "once do" else "--ttl"
    runs = ["--", "true"] if command.split()[1] in {"with", "do"} else []
    code = koncli.main([*command.split(), "x", option, "1us", *runs])
    said = capsys.readouterr().err
    assert (code, option in said, "1us: it is over before it is heard of" in said) == (1, True, True), said
