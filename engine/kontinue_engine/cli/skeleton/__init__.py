"""Internal. What ``kontinue init`` writes: templates beside this module, in which ``$name`` stands for the project."""

from __future__ import annotations

import importlib.resources
import string
from collections.abc import Mapping
from typing import Final

_TEMPLATES: Final = {
    "app.py": "app.py.in",
    "test_app.py": "test_app.py.in",
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    "Dockerfile": "Dockerfile.in",
    ".gitignore": "gitignore.in",
    ".dockerignore": "dockerignore.in",
}
"""File of the project -> template. They end in .in, so that no tool takes them for code of ours."""


def files(name: str) -> Mapping[str, str]:
    """Return the files of a project of that name, by their names."""
    folder = importlib.resources.files(__name__)
    return {
        target: string.Template((folder / source).read_text(encoding="utf-8")).substitute(name=name)
        for target, source in _TEMPLATES.items()
    }
