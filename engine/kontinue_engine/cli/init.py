"""Internal. ``kontinue init NAME``: a folder with an app, its tests, and what a cluster needs; overwrites nothing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from kontinue.naming import is_dns_label
from kontinue_engine.cli import skeleton


def command(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to create; its name is the project's.")],
) -> None:
    """Write a project that runs as it is: an app, its tests, an image for a cluster."""
    project = name.resolve().name
    if not is_dns_label(project):
        raise typer.BadParameter(
            f"{project!r} names a worker group, too: a-z, 0-9 and '-' inside, at most 63 characters", param_hint="NAME"
        )
    files = skeleton.files(project)
    taken = [file for file in files if (name / file).exists()]
    if taken or (name.exists() and not name.is_dir()):
        raise typer.BadParameter(
            f"{name} has {', '.join(taken)} already, and nothing is overwritten: choose another name"
            if taken
            else f"{name} is a file: choose another name",
            param_hint="NAME",
        )
    try:
        name.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            with (name / file).open("x", encoding="utf-8") as opened:
                opened.write(text)
    except OSError as error:
        raise typer.BadParameter(f"{error.filename}: {error.strerror}", param_hint="NAME") from error
    print(_next_steps(name, list(files)))


def _next_steps(folder: Path, files: list[str]) -> str:
    enter = "" if folder.resolve() == Path.cwd() else f"  cd {shlex.quote(str(folder))}\n"
    return (
        f"{folder}: {', '.join(files)}\n\n"
        f"{enter}"
        "  kontinue dev app:app                   # an API server and a worker, here\n"
        "  kontinue execute hello -p name=Ada     # in a second shell, in the same folder\n"
        "  pytest                                 # after: pip install pytest pytest-asyncio\n\n"
        "README.md goes on from there, to a cluster."
    )
