"""Internal. Asks somebody at a terminal for a value, question by question (``kontinue_engine.cli.form``), on stderr.

Used by ``resume`` and ``execute --interactive``. Ctrl-C or the end of stdin leaves with nothing changed.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import typer

from kontinue_engine.cli.form import AnswerError, Question, assemble, questions_of, read_answer
from kontinue_engine.cli.options import is_terminal


def can_ask() -> bool:
    """Tell whether somebody is there to answer."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C end a question at once: asyncio only cancels a task, which does not run while somebody is asked."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
        with interruptible():
            text = typer.prompt(_prompt(question), default="", show_default=False, err=True)
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
