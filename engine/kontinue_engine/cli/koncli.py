"""Internal. ``koncli``: the verbs for primitives of ``konductor.io`` alone, as scripts of the original call them.

They are those of ``kontinue``. Here also spellings count that only the original's documents know: ``-o text``, a log
level, and the namespace in an environment variable. A command line that makes no sense is 1, as 2 says not found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.main import VERBS, Program, run_program

NAMESPACE_VARIABLE: Final = "KONDUCTOR_NAMESPACE"
_SHARED: Final = frozenset({"barrier", "mutex", "once", "rwmutex", "semaphore", "version", "waitgroup"})
KONCLI: Final = Program(
    "koncli",
    "Coordinate workloads by primitives of konductor.io.",
    tuple(verb for verb in VERBS if verb.name in _SHARED),
)
_OUTPUTS: Final = ("-o", "--output")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; entry point of ``koncli``."""
    given = sys.argv[1:] if arguments is None else arguments
    namespace = os.environ.get(NAMESPACE_VARIABLE, "")
    return run_program(KONCLI, translated(given, namespace=namespace), usage_error=exit_codes.ERROR)


def translated(arguments: Sequence[str], *, namespace: str) -> list[str]:
    """Return a command line of the original's as one of ours. Nothing behind ``--`` is touched.

    Args:
        arguments: without the program's name.
        namespace: to work in, unless the command line names one; empty for that of the configuration found.
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
    names_one = any(word in {"-n", "--namespace"} or word.startswith(("--namespace=", "-n=")) for word in words)
    if namespace and not names_one and words and not words[0].startswith("__"):
        words = ["-n", namespace, *words]
    return words + command
