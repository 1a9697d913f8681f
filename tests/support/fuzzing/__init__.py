"""What is fuzzed of the local server without a server: its parsers, as functions from bytes.

``TARGETS`` by name. A target raises for anything but the refusals that the parser declares, and says by assertions
what must hold of what was accepted. ``tests/fuzz`` runs each over its seeds and thousands of mutations of them,
``tools/fuzz.py`` one of them with atheris, guided by coverage, for as long as wanted.
"""

from __future__ import annotations

from fuzzing import bodies, connections, objects, patching, queries
from fuzzing.target import Target

__all__ = ["TARGETS", "Target"]

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (connections, bodies, queries, patching, objects)
    for target in vars(module).values()
    if isinstance(target, Target)
}
