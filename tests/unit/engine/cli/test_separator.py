"""Commands that a verb runs, and ``--`` before them."""

from __future__ import annotations

import pytest

from kontinue_engine.cli import koncli, main
from kontinue_engine.cli.separator import ambiguous_option


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("mutex with db backup -n prod", "-n"),
        ("-n shop mutex with db --ttl 5s --holder=me backup --verbose -o yaml", "-o"),
        ("rwmutex with db --read backup --namespace=prod", "--namespace=prod"),
        ("once do migrate ls -lA", "-lA"),
        ("mutex with db -- backup -n prod", ""),
        ("mutex with db -n prod backup --all", ""),
        ("mutex with db -n prod --ttl 5s -q backup", ""),
        ("rwmutex with --read db backup", ""),
        ("get with a b c -n prod", ""),
        ("mutex delete with a b -n prod", ""),
    ],
)
def test_an_option_that_may_be_the_command_s_is_found(line: str, option: str) -> None:
    """Behind the command's first word, unless -- stands before that."""
    assert ambiguous_option(line.split()) == option


@pytest.mark.parametrize(("program", "code"), [(koncli, 1), (main, 2)])
def test_nothing_is_run_while_it_is_not_clear_whose_an_option_is(
    program: object, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another object would be locked than is meant, and the command would lack its option."""
    assert program.main(["mutex", "with", "db", "backup", "-n", "prod"]) == code  # type: ignore[attr-defined]
    assert "put -- before the command" in capsys.readouterr().err
