"""Internal. ``kontinue version``. Loads nothing that a script would have to wait for."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from kontinue_engine.cli.options import GlobalOptions, OutputFormat, global_options


def command(ctx: typer.Context) -> None:
    """Print the versions of kontinue and Python."""
    print(format_versions(global_options(ctx)))


def format_versions(options: GlobalOptions) -> str:
    """Return the versions as the options ask for them."""
    versions = {"kontinue": metadata.version("kontinue"), "python": platform.python_version()}
    match options.output:
        case OutputFormat.JSON:
            import json  # the formats of objects need what talks to a server

            return json.dumps(versions, indent=2)
        case OutputFormat.YAML:
            return "\n".join(f"{name}: {version}" for name, version in versions.items())
        case OutputFormat.NAME:
            return f"kontinue/{versions['kontinue']}"
        case OutputFormat.TABLE | OutputFormat.WIDE:
            return f"kontinue {versions['kontinue']} (Python {versions['python']})"
