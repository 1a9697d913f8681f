"""Internal. API objects on stdout: as a table, JSON, YAML or names. Bytes of the server are passed on, not re-modelled.

``-o json`` and ``-o yaml`` show what the server sent, with fields that this version does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kontinue.api.konductor.group import GROUP
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue_engine.cli.options import GlobalOptions, OutputFormat
from kontinue_engine.cli.text import one_line


def print_objects(
    documents: Sequence[msgspec.Raw], *, output: OutputFormat, as_list: bool, resource: Resource = requests.EXECUTIONS
) -> None:
    """Print objects as JSON, YAML or names; see ``format_raw``. Names of none are no line at all."""
    if text := format_raw(documents, output=output, as_list=as_list, resource=resource):
        print(text, flush=True)


def format_raw(
    documents: Sequence[msgspec.Raw], *, output: OutputFormat, as_list: bool, resource: Resource = requests.EXECUTIONS
) -> str:
    """Return objects as JSON, YAML or names.

    Args:
        documents: the objects as the server sent them.
        output: json, yaml or name.
        as_list: whether to wrap them in a v1 List, as kubectl does, even if it is one.
        resource: what they are, for names: ``executions.kontinue.cloud/NAME``.
    """
    values: list[dict[str, Any]] = [msgspec.json.decode(document) for document in documents]
    if output is OutputFormat.NAME:
        return "\n".join(_reference_to(value, resource) for value in values)
    return format_document(
        {"apiVersion": "v1", "kind": "List", "items": values} if as_list else values[0], output=output
    )


def reference(resource: Resource, name: str, *, api_group: str = "") -> str:
    """Return an object as ``-o name`` prints it; ``api_group``: the one in which it is served, if not its kind's."""
    return f"{resource.plural}.{api_group or resource.group}/{name}"


def tell(options: GlobalOptions, resource: Resource, name: str, what: str) -> None:
    """Print what became of an object, for people, or its name; programs that read JSON or YAML are not told."""
    api_group = options.api_group if resource.group == GROUP else ""
    said = reference(resource, name, api_group=api_group)
    if options.is_table:
        print(f"{said} {one_line(what)}", flush=True)
    elif options.output is OutputFormat.NAME:
        print(said, flush=True)


def _reference_to(document: dict[str, Any], resource: Resource) -> str:
    group, _, _ = document.get("apiVersion", "").rpartition("/")
    return reference(resource, document["metadata"]["name"], api_group=group)


def format_document(document: object, *, output: OutputFormat) -> str:
    """Return a value as YAML if that is what is asked for, else as JSON."""
    if output is OutputFormat.YAML:
        import yaml  # here, as it is asked for seldom, and takes a while to load

        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n")
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
