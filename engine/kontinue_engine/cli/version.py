"""Internal. ``kontinue version``."""

from __future__ import annotations

import platform
from importlib import metadata


def command() -> None:
    """Print the versions of kontinue and Python."""
    print(f"kontinue {metadata.version('kontinue')} (Python {platform.python_version()})")
