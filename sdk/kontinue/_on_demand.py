"""Internal. Public names of a package that are loaded when somebody asks for them first (PEP 562).

Whatever imports ``kontinue.errors`` runs ``kontinue/__init__``, and so on for each package: a command that only counts
on a WaitGroup would load all there is. For type checkers the packages import their names as ever.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def on_demand(
    package: str, names: Sequence[str], homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its name.
        names: all that it offers.
        homes: modules, and which of the names are theirs, in one text. Those below the package are its attributes, too.
    """
    home_of = {name: home for home, offered in homes.items() for name in offered.split()}

    def load(name: str) -> object:
        if (home := home_of.get(name)) is not None:
            found = getattr(importlib.import_module(home), name)
        elif f"{package}.{name}" in homes:
            found = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        setattr(sys.modules[package], name, found)
        return found

    return load, lambda: sorted({*vars(sys.modules[package]), *names})
