"""Commands that a verb runs, and ``--`` before them."""

from __future__ import annotations

import pytest

from kontinue_engine.cli import koncli, main
from kontinue_engine.cli.separator import ambiguous_option


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("mutex with db backup -n prod", "-n"),
        ("-n shop mutex with db --ttl 5s --holder=me backup --verbose -o yaml", "--verbose"),
        ("rwmutex with db --read backup --namespace=prod", "--namespace=prod"),
        ("once do migrate ls -lA", "-lA"),
        ("mutex with db echo copy --timeout 5s --ttl 1h -v src", "--timeout"),
        ("mutex with db --timeout 5s echo --ttl=1h src", "--ttl=1h"),
        ("semaphore with db backup --wait", "--wait"),
        ("semaphore with db backup --wait-duration 5s", "--wait-duration"),
        ("rwmutex with db backup --read", "--read"),
        ("lease with db backup --priority 5", "--priority"),
        ("once do migrate backup --help", "--help"),
        ("mutex with db -n prod backup --all", "--all"),
        ("mutex with db git checkout -- file", "--"),
        ("--log-level debug -v mutex with db --wait backup -v", "-v"),
        ("--timeout 5s mutex with db backup --timeout 5s", "--timeout"),
        ("mutex with db -- backup -n prod", ""),
        ("mutex with db -- git checkout -- file", ""),
        ("mutex with -- db backup --ttl 5s", ""),
        ("mutex with db -n prod --ttl 5s -q backup", ""),
        ("--log-level debug --timeout 5s -v mutex with db --wait backup", ""),
        ("rwmutex with --read db backup", ""),
        ("mutex with db cat - file", ""),
        ("get with a b c -n prod", ""),
        ("mutex delete with a b -n prod", ""),
        ("mutex lock with a b --ttl 5s", ""),
    ],
)
def test_an_option_that_may_be_the_command_s_is_found(line: str, option: str) -> None:
    """Behind the command's first word, unless -- stands before that."""
    assert ambiguous_option(line.split()) == option


@pytest.mark.parametrize(("program", "code"), [(koncli, 1), (main, 2)])
@pytest.mark.parametrize(
    "line",
    [
        "mutex with db backup -n prod",
        "mutex with db echo copy --timeout 5s --ttl 1h src",
        "mutex with db backup -v",
        "rwmutex with db backup --read",
        "semaphore with db backup --wait",
        "lease with db backup --holder=me",
        "once do migrate backup --log-level debug",
        "once do migrate backup --all",
        "mutex with db git checkout -- file",
    ],
)
def test_nothing_is_run_while_it_is_not_clear_whose_an_option_is(
    program: object, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another object would be locked than is meant, or for another time, and the command would lack its option."""
    assert program.main(line.split()) == code  # type: ignore[attr-defined]
    assert "put -- before the command" in capsys.readouterr().err
