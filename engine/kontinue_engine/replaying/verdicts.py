"""Internal. What is asked of the process that replays, and what it answers: pure data, one JSON document per line.

``kontinue_engine.replaying.process`` asks, ``kontinue_engine.replaying.rehearsal`` answers.
"""

from __future__ import annotations

import enum

import msgspec

from kontinue.api.v1alpha1 import Execution
from kontinue_engine.lifecycle.statuses import next_attempt
from kontinue_engine.lifecycle.times import ms_of
from kontinue_engine.wire import frames


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The one argument of ``python -m kontinue_engine.replaying``."""

    app: str
    app_dir: str


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The first answer: the app is imported, or (``problem``) is not.

    Attributes:
        group: its worker group.
        functions: their registered names.
        build: digest of its code.
        traceback: of the import, if that failed.
    """

    group: str = ""
    functions: list[str] = []
    build: str = ""
    problem: str = ""
    traceback: str = ""


class Finding(enum.StrEnum):
    """Whether code asks for what is recorded."""

    REPLAYS = "Replays"
    DIFFERS = "Differs"
    UNCHECKED = "Unchecked"


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one history.

    Attributes:
        records: how many there are.
        step: id of the first step that differs; ``-`` where it is no step.
        recorded: what the history holds there.
        requested: what the code asks for instead.
        message: what comes behind the records; a hint why it differs; or why it could not be checked.
    """

    finding: Finding
    records: int = 0
    step: str = ""
    recorded: str = ""
    requested: str = ""
    message: str = ""


def describe(name: str, verdict: Verdict, *, build: str) -> str:
    """Return both sides of a difference below each other, or why an Execution could not be checked.

    Args:
        name: of the Execution.
        verdict: one that is not Replays.
        build: of the code that it was replayed against.
    """
    if verdict.finding is Finding.UNCHECKED:
        return f"{name} was not checked: {verdict.message}"
    lines = [
        f"{name} differs at step {verdict.step}:",
        f"  recorded:  {verdict.recorded}",
        f"  requested: {verdict.requested}, by build {build}",
    ]
    return "\n".join([*lines, f"  {verdict.message}"] if verdict.message else lines)


def question(execution: Execution, number: int) -> frames.Activate:
    """Return what asks for the replay of an Execution; its ``status.state`` must hold the whole memo.

    Args:
        execution: whose.
        number: of the activation, unique in the process.
    """
    meta, status = execution.metadata, execution.status
    has_ended = execution.phase.is_terminal
    return frames.Activate(
        activation=number,
        namespace=meta.namespace,
        execution=meta.name,
        uid=meta.uid,
        function=execution.spec.function,
        arguments=bytes(execution.spec.arguments),
        memo=b"" if status.state is msgspec.UNSET else bytes(status.state),
        attempt=max(1, status.attempt_count) if has_ended else next_attempt(status),
        resumption=status.resumptions + 1,
        run_epoch=status.run_epoch,
        created_at_ms=ms_of(meta.creation_timestamp) if meta.creation_timestamp else 0,
        fencing_token=0,
    )
