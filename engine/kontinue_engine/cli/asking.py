"""Internal. Asks somebody at a terminal, on stderr: for yes or no, or for a value (``kontinue_engine.cli.form``).

Used by what changes a selection, ``resume`` and ``execute --interactive``. Ctrl-C or the end of stdin leaves with
nothing changed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import typer

from kontinue_engine.cli.form import AnswerError, Question, assemble, questions_of, read_answer
from kontinue_engine.cli.options import is_terminal

_ANSWERS: Final = {"y": True, "yes": True, "n": False, "no": False, "": False}


def can_ask() -> bool:
    """Tell whether somebody is there to answer."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def confirm(question: str) -> bool:
    """Tell whether somebody says yes.

    Raises:
        Abort: Ctrl-C, or the end of stdin.
    """
    while True:
        answer = _ask_line(f"{question} [y/N]").strip().lower()
        if answer in _ANSWERS:
            return _ANSWERS[answer]
        print("Error: invalid input", file=sys.stderr)


def _ask_line(prompt: str) -> str:
    """Return the line that somebody types; asyncio, which only cancels a task, does not see to Ctrl-C meanwhile."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"{prompt}: ", end="", file=sys.stderr, flush=True)
        _wait_for_line()
        return input()
    except (KeyboardInterrupt, EOFError):
        raise typer.Abort from None
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_for_line() -> None:
    """Return once there is a line to read.

    A signal ends it by its handler, whenever it comes. ``input()`` notices one that comes after it has looked for
    signals and before it reads only when somebody types; here it leaves a byte that the wait is for, too.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        while sys.stdin not in select.select([sys.stdin, reading], [], [])[0]:
            numbers = os.read(reading, 512)
            if before >= 0:
                os.write(before, numbers)  # another signal: whoever waited for it gets it
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


def ask_for(schema: Mapping[str, Any], *, known: Collection[str] = ()) -> Any:
    """Return a value of ``schema`` as somebody answers; members of the names in ``known`` are not asked for."""
    asked = [question for question in questions_of(schema) if not (question.path and question.path[0] in known)]
    return assemble([(question, _ask(question)) for question in asked])


def _ask(question: Question) -> Any:
    if question.description:
        print(question.description, file=sys.stderr)
    for number, choice in enumerate(question.choices, 1):
        print(
            f"  {number}  {choice if isinstance(choice, str) else msgspec.json.encode(choice).decode()}",
            file=sys.stderr,
        )
    while True:
        text = _ask_line(_prompt(question))
        try:
            return read_answer(question, text)
        except AnswerError as error:
            print(f"  {error}", file=sys.stderr)


def _prompt(question: Question) -> str:
    expected = question.expected
    if question.choices:
        expected = f"1-{len(question.choices)}"
    elif expected == "boolean":
        expected = "y/n"
    if not isinstance(question.default, msgspec.UnsetType):
        return f"{question.name} ({expected}) [{msgspec.json.encode(question.default).decode()}]"
    return f"{question.name} ({expected}{'' if question.is_required else ', may be left out'})"
