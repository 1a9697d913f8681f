"""Internal. ``kontinue apiserver``: becomes a local API server process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kontinue_engine.cli.dev.command import DEFAULT_PORT


def command(
    data_dir: Annotated[Path, typer.Option(help="Database and kubeconfig.")] = Path(".kontinue"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0 picks a free one.")] = DEFAULT_PORT,
) -> None:
    """Run the local, Kubernetes-compatible API server alone, without a worker."""
    arguments = ["-m", "kontinue_engine.apiserver", "--data-dir", str(data_dir), "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  it takes our place, no shell is involved
