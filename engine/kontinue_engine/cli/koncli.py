"""Internal. ``koncli``: the verbs for primitives of ``konductor.io`` alone, as scripts of the original call them.

They are those of ``kontinue``. Here also spellings count that only the original's documents know: ``-o text``, a log
level, ``--wait`` and a timeout of whatever verb, and environment variables for some options. A command line that makes
no sense is 1, as 2 says not found.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.main import ASK, VERBS, Program, Verb, run_program
from kontinue_engine.cli.options import API_GROUPS, GROUPED, OutputFormat, lacks_value

VARIABLES: Final = {
    "KONDUCTOR_NAMESPACE": ("--namespace", "-n"),
    "KONDUCTOR_GROUP": ("--api-group",),
    "KONCLI_NAMESPACE": ("--namespace", "-n"),
    "KONCLI_KUBECONFIG": ("--kubeconfig",),
    "KONCLI_OUTPUT": ("--output", "-o"),
}
"""Options that environment variables stand for, in all their spellings; the first variable that is set counts."""
_CHOICES: Final = {"--output": ("text", *OutputFormat), "--api-group": API_GROUPS}
"""What some of them can be."""
WAITS: Final = {
    "barrier": frozenset({"arrive", "wait"}),
    "gate": frozenset({"wait"}),
    "lease": frozenset({"acquire", "with"}),
    "mutex": frozenset({"lock", "with"}),
    "once": frozenset({"do"}),
    "rwmutex": frozenset({"lock", "rlock", "with"}),
    "semaphore": frozenset({"acquire", "with"}),
    "waitgroup": frozenset({"wait"}),
}
"""Verbs that take ``--timeout`` because they wait. Each other verb of the original takes it, too: for its requests."""
_LIMITED: Final = frozenset({("barrier", "create"), ("gate", "create")})
"""Those whose ``--timeout`` is the object's."""
_LIMITS: Final = frozenset({"--timeout", "--wait-duration"})
"""How long a verb waits, in its own options."""
_VALUED: Final = frozenset({"--timeout", "--log-level", "--wait-duration", "--update-timeout"})
_ATTACHED: Final = re.compile(r"(-[nlo])([^-=].*)")
"""A global option with its value behind it without a blank, as ``options`` takes it."""
_ALONE: Final = frozenset({"completion", "version"})
"""Verbs that know no server."""
STATUS: Final = Verb(
    "status", "kontinue_engine.cli.primitives.status", "Show a primitive by its kind and name, or all.", "Look", GROUPED
)
OPERATOR: Final = Verb(
    "operator",
    "kontinue_engine.cli.primitives.operator",
    "Show whether a coordinator works.",
    "Look",
    GROUPED - {"selector"},
)
KONCLI: Final = Program(
    "koncli",
    "Coordinate workloads by primitives of konductor.io, as in: koncli mutex lock NAME. What a kind does: koncli "
    "mutex --help. Exit codes: 0 ok, 1 error, 2 not found, 3 timeout, 4 forbidden, 5 held by another. "
    "$KONDUCTOR_NAMESPACE or $KONCLI_NAMESPACE, $KONCLI_KUBECONFIG, $KONCLI_OUTPUT and $KONDUCTOR_GROUP stand for -n, "
    "--kubeconfig, -o and --api-group.",
    (STATUS, OPERATOR, *(verb for verb in VERBS if verb.name in WAITS or verb.name in _ALONE)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_program(KONCLI, given, usage_error=exit_codes.ERROR, translate=_with_environment)


def _with_environment(given: Sequence[str]) -> list[str]:
    if given[:1] == [ASK]:  # the words are behind a --, the last of them is not yet whole
        # What a variable says wrongly is told when the line is run, if the line does not say it by then.
        return [*given[:2], *_from_environment(_parts(_before_command(given[2:])), os.environ), *given[2:]]
    return translated(given, os.environ)


def translated(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return a command line of the original's as one of ours. Nothing behind ``--`` is touched.

    Args:
        arguments: without the program's name.
        environment: its variables say what the command line does not.

    Raises:
        ValueError: a variable says what its option cannot be. It is named, as nobody has written the option.
    """
    ours = _before_command(arguments)
    parts = _parts(ours)
    kind, verb, *_ = *(part.word for part in parts if not part.is_option), "", ""
    before = next((number for number, part in enumerate(parts) if not part.is_option), len(parts))
    words: list[str] = []
    limits: Sequence[str] = ()
    for number, part in enumerate(parts):
        if part.name == "--timeout" and number < before:  # a global option there: it is meant for what waits
            limits = part.words if verb in WAITS.get(kind, ()) else ()
        else:
            limits = () if part.name in _LIMITS else limits  # the verb's own is the nearer one
            words += _ours(part, kind, verb)
    if kind and kind not in _ALONE:
        words = [*_from_environment(parts, environment, check=_check), *words]
    return [*words, *limits, *arguments[len(ours) :]]


def _before_command(arguments: Sequence[str]) -> Sequence[str]:
    return arguments[: list(arguments).index("--")] if "--" in arguments else arguments


class _Part(NamedTuple):
    """An option with its value, or another word."""

    word: str
    name: str
    value: str
    words: tuple[str, ...]

    @property
    def is_option(self) -> bool:
        return bool(self.name)


def _parts(words: Sequence[str]) -> list[_Part]:
    found: list[_Part] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=") if word.startswith("-") else ("", "", "")
        taken: tuple[str, ...] = (word,)
        if attached := _ATTACHED.fullmatch(word):
            name, value = attached.groups()
        elif name and not equals and (name in _VALUED or lacks_value([name])) and queue:
            value = queue.pop(0)
            taken = (word, value)
        found.append(_Part(word, name, value, taken))
    return found


def _ours(part: _Part, kind: str, verb: str) -> Sequence[str]:
    """Return how we say an option of the original's; nothing for what means nothing, or is so anyway."""
    waits = verb in WAITS.get(kind, ())
    match part.name:
        case "--log-level" | "-v" | "--verbose":
            return ()
        case "-o" | "--output" if part.value == "text":
            return ("-o", "table")
        case "--timeout" if kind in WAITS and not waits and (kind, verb) not in _LIMITED:
            return ()  # of a request
        case "--wait-duration" if waits:
            return ("--timeout", part.value)
        case "--wait" | "--wait-for-update" | "--update-timeout" if waits and (kind, verb) != ("barrier", "arrive"):
            return ()  # they do wait, and what is said has been done
        case _:
            return part.words


def _from_environment(
    parts: Sequence[_Part],
    environment: Mapping[str, str],
    *,
    check: Callable[[str, str, str], None] = lambda *_: None,
) -> list[str]:
    """Return what variables say that the line does not, checked by variable, option and value."""
    given, found = {part.name for part in parts}, dict[str, str]()
    for variable, (option, *others) in VARIABLES.items():
        if (value := environment.get(variable)) and given.isdisjoint((option, *others)):
            check(variable, option, value)
            found.setdefault(option, "table" if (option, value) == ("--output", "text") else value)
    return [word for pair in found.items() for word in pair]


def _check(variable: str, option: str, value: str) -> None:
    choices = _CHOICES.get(option, ())
    for one in value.split(","):
        if choices and one not in choices:
            raise ValueError(f"${variable}: {one!r} is none of {', '.join(choices)}")
