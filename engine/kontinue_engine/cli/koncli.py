"""Internal. ``koncli``: the verbs for primitives of ``konductor.io`` alone, as scripts of the original call them.

They are those of ``kontinue``. Here also spellings count that only the original's documents know: ``-o text``, a log
level, and the namespace in an environment variable, as the API group. A command line that makes no sense is 1, as 2
says not found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.main import ASK, VERBS, Program, Verb, run_program
from kontinue_engine.cli.options import GROUPED

VARIABLES: Final = {"KONDUCTOR_NAMESPACE": ("--namespace", "-n"), "KONDUCTOR_GROUP": ("--api-group",)}
"""Options that environment variables stand for, in all their spellings."""
_KINDS: Final = frozenset({"barrier", "gate", "lease", "mutex", "once", "rwmutex", "semaphore", "waitgroup"})
_ALONE: Final = frozenset({"completion", "version"})
"""Verbs that know no server."""
STATUS: Final = Verb(
    "status", "kontinue_engine.cli.status", "Show a primitive by its kind and name, or all.", "Look", GROUPED
)
KONCLI: Final = Program(
    "koncli",
    "Coordinate workloads by primitives of konductor.io.",
    (STATUS, *(verb for verb in VERBS if verb.name in _KINDS | _ALONE)),
)
_OUTPUTS: Final = ("-o", "--output")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; entry point of ``koncli``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == [ASK]:  # the words are behind a --, the last of them is not yet whole
        words = [*given[:2], *_from_environment(given, os.environ), *given[2:]]
    else:
        words = translated(given, os.environ)
    return run_program(KONCLI, words, usage_error=exit_codes.ERROR)


def translated(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return a command line of the original's as one of ours. Nothing behind ``--`` is touched.

    Args:
        arguments: without the program's name.
        environment: its variables say what the command line does not.
    """
    words: list[str] = []
    command: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            command = [word, *queue]
            break
        if word == "--log-level":
            del queue[:1]
        elif word in {"-v", "--verbose"} or word.startswith("--log-level="):
            continue
        elif word in _OUTPUTS and queue[:1] == ["text"]:
            words += [word, "table"]
            del queue[:1]
        elif word in {"-otext", "-o=text", "--output=text"}:
            words += ["-o", "table"]
        else:
            words.append(word)
    verb = next((word for word in words if word in _KINDS | _ALONE | {STATUS.name}), "")
    if verb and verb not in _ALONE:
        words = [*_from_environment(words, environment), *words]
    return words + command


def _from_environment(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for variable, spellings in VARIABLES.items():
        is_given = any(word.partition("=")[0] in spellings for word in words)
        if (value := environment.get(variable)) and not is_given:
            found += [spellings[0], value]
    return found
