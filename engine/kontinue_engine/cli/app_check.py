"""Internal. What ``kontinue worker check`` finds: an App's functions, as a worker would register them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from kontinue.api.v1alpha1 import Function
from kontinue.kube import requests
from kontinue_engine.cli.objects import format_raw
from kontinue_engine.cli.options import OutputFormat
from kontinue_engine.cli.signatures import format_signature
from kontinue_engine.controllers.function import build_function
from kontinue_engine.errors import AppLoadFailedError
from kontinue_engine.runner import loader


def load(spec: str, app_dir: Path) -> tuple[str, list[Function]]:
    """Import the App; return its group, and its functions by name.

    Raises:
        AppLoadFailedError: a worker could not start with it.
    """
    try:
        app = loader.load_app(spec, str(app_dir))
    except loader.LoadError as error:
        raise AppLoadFailedError(error.message, error.traceback) from error
    described = loader.describe_functions(app.functions)
    return app.group, [build_function(one, group=app.group) for one in described]


def format_functions(functions: Sequence[Function], output: OutputFormat) -> str:
    """Return them as signatures, or as the objects that a worker would write."""
    if output in {OutputFormat.TABLE, OutputFormat.WIDE}:
        return "\n".join(map(format_signature, functions))
    raws = [msgspec.Raw(msgspec.json.encode(one)) for one in functions]
    return format_raw(raws, output=output, as_list=True, resource=requests.FUNCTIONS)
