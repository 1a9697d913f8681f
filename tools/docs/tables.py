"""Tables of the documentation that are read from the code: command line, kinds, labels, public names.

Markdown comes out; ``site_hook`` puts it into the pages that ask for it.
"""

from __future__ import annotations

import argparse
import ast
import html
import importlib
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer
import yaml
from drawings import ROOT, markdown_table

from kontinue.api.v1alpha1 import ENDED_PHASES, Phase
from kontinue_engine.arbiter import options as arbiter_options
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.main import VERBS, build_app
from kontinue_engine.worker import options as worker_options

_FIRST: Final = ("execution", "suspension", "scheduledexecution", "function")
"""Kinds that people meet first; the others follow by name."""


def command_line() -> str:
    """Return every verb with its options, as its ``--help`` tells them."""
    root: Any = typer.main.get_command(build_app([verb.name for verb in VERBS]))
    lines = ["## Global options", "", "They may stand before and behind the verb.", "", _parameters(root), ""]
    for panel in dict.fromkeys(verb.panel for verb in VERBS):
        lines += [f"## {panel}", ""]
        for verb in (verb for verb in VERBS if verb.panel == panel):
            lines += _command(f"kontinue {verb.name}", root.commands[verb.name])
    return "\n".join(lines)


def exit_code_table() -> str:
    """Return the exit codes: their names, and the phases that they tell."""
    codes = {name: code for name, code in vars(exit_codes).items() if name.isupper() and isinstance(code, int)}
    rows = []
    for name, code in codes.items():
        phases = [phase for phase in Phase if phase in ENDED_PHASES and exit_codes.exit_code_of(phase) == code]
        rows.append([f"`{code}`", name.capitalize(), ", ".join(phases)])
    return markdown_table(["code", "means", "phase of what was waited for"], rows)


_PARSERS: Final = {
    "kontinue worker run": worker_options.build_parser,
    "kontinue coordinator run": arbiter_options.build_parser,
}
"""Verbs that become another process, which parses its options itself."""


def _command(path: str, command: Any) -> Iterator[str]:
    """Yield a verb, and those below it."""
    yield from (f"### {path}", "", _sentences(command.help or ""), "")
    if build := _PARSERS.get(path):
        yield from (_arguments(build()), "")
        return
    if table := _parameters(command):
        yield from (table, "")
    for name, below in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", below)


def _parameters(command: Any) -> str:
    rows = []
    for one in command.params:
        if one.hidden if hasattr(one, "hidden") else False:
            continue
        names = ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts])
        if one.param_type_name == "argument":
            names = f"`{one.make_metavar(_context(command))}`"
        rows.append([names, _kind(one, command), _default(one.default), html.escape(one.help or "", quote=False)])
    return markdown_table(["option", "value", "default", ""], rows) if rows else ""


def _kind(parameter: Any, command: Any) -> str:
    if getattr(parameter, "is_flag", False) or parameter.param_type_name == "argument":
        return ""
    return f"`{parameter.make_metavar(_context(command))}`"


def _context(command: Any) -> Any:
    return command.context_class(command)


def _default(value: object) -> str:
    if value in (None, False, "", [], ()) or not isinstance(value, bool | int | float | str | Path):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _arguments(parser: argparse.ArgumentParser) -> str:
    """Return the options of a parser that is not typer's."""
    rows = []
    for one in parser._actions:
        if isinstance(one, argparse._HelpAction):
            continue
        metavar = one.metavar or (one.dest.upper() if one.nargs != 0 else "")
        value = "|".join(one.choices) if one.choices else metavar
        names = ", ".join(f"`{name}`" for name in one.option_strings) or f"`{metavar}`"
        text = (one.help or "") % {"default": one.default}
        rows.append([names, f"`{value}`" if value and one.option_strings else "", _default(one.default), text])
    return markdown_table(["option", "value", "default", ""], rows)


def _sentences(text: str) -> str:
    return html.escape(inspect.cleandoc(text), quote=False)


def kinds() -> str:
    """Return each kind with all of its fields, from the CustomResourceDefinitions."""
    lines: list[str] = []
    for file in sorted((ROOT / "crds").glob("*.yaml"), key=_place_of):
        spec = yaml.safe_load(file.read_text())["spec"]
        version = next(version for version in spec["versions"] if version["storage"])
        schema = version["schema"]["openAPIV3Schema"]
        names = spec["names"]
        short = ", ".join(f"`{name}`" for name in [names["plural"], *names.get("shortNames", [])])
        where = f"`apiVersion: {spec['group']}/{version['name']}`; for kubectl {short}."
        lines += [f"## {names['kind']}", "", schema.get("description", ""), "", where, ""]
        for part in ("spec", "status"):
            if part in schema["properties"]:
                node = schema["properties"][part]
                rows = [list(row) for row in _fields(node, part)]
                lines += [f"### {names['kind']}: {part}", "", node.get("description", ""), ""]
                lines += [markdown_table(["field", "type", "what"], rows), ""]
        rest = {name: node for name, node in schema["properties"].items() if name not in _COMMON}
        if rest:
            rows = [list(row) for name, node in rest.items() for row in _field(name, node, name)]
            lines += [markdown_table(["field", "type", "what"], rows), ""]
        if rules := list(_rules(schema)):
            lines += ["What the API server refuses: " + "; ".join(rules) + ".", ""]
    return "\n".join(lines)


def _place_of(file: Path) -> tuple[int, str]:
    return (_FIRST.index(file.stem) if file.stem in _FIRST else len(_FIRST), file.stem)


_COMMON: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})


def _fields(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    required = node.get("required", ())
    for name, below in node.get("properties", {}).items():
        yield from _field(f"{path}.{name}", below, name, is_required=name in required)


def _field(
    path: str, node: Mapping[str, Any], name: str, *, is_required: bool = False
) -> Iterator[tuple[str, str, str]]:
    items = node.get("items", {})
    kind = node.get("format") or node.get("type", "any")
    if items:
        kind = f"list of {items.get('format') or items.get('type', 'any')}"
    elif isinstance(node.get("additionalProperties"), dict):
        kind = f"map of {node['additionalProperties'].get('type', 'any')}"
    yield f"`{path}`", kind + (", required" if is_required else ""), _description(node)
    yield from _fields(node, path)
    yield from _fields(items, f"{path}[]")


def _description(node: Mapping[str, Any]) -> str:
    found = [node.get("description", "")]
    if "enum" in node:
        found.append("One of " + ", ".join(f"`{value}`" for value in node["enum"]) + ".")
    if "default" in node:
        found.append(f"Default: `{node['default']}`.")
    limits = [f"{words} {node[name]}" for name, words in _LIMITS.items() if name in node]
    if limits:
        found.append(f"({', '.join(limits)})")
    return " ".join(filter(None, found))


_LIMITS: Final = {
    "minimum": "at least",
    "maximum": "at most",
    "minLength": "characters: at least",
    "maxLength": "characters: at most",
    "maxItems": "items: at most",
}


def _rules(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the rules of a schema and of everything below it say when they refuse something."""
    for rule in node.get("x-kubernetes-validations", ()):
        yield rule["message"]
    for below in node.get("properties", {}).values():
        yield from _rules(below)


def labels() -> str:
    """Return labels and annotations with what their docstrings say."""
    source = (ROOT / "sdk" / "kontinue" / "api" / "labels.py").read_text()
    values = vars(importlib.import_module("kontinue.api.labels"))
    rows = [
        [f"`{values[name]}`", " ".join(text.split()).replace("``", "`")]
        for name, text in _documented(ast.parse(source))
        if str(values[name]).startswith("kontinue.cloud/") and name != "API_VERSION"
    ]
    return markdown_table(["name", "what"], rows)


def _documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names that a module assigns, each with the string below it."""
    for one, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            yield one.target.id, str(text.value) if isinstance(text, ast.Constant) else ""


def public_names(module: str) -> str:
    """Return a reference entry, for mkdocstrings to fill, for each name that a module exports."""
    exported = importlib.import_module(module)
    return "\n\n".join(_entry(f"{module}.{name}", getattr(exported, name)) for name in exported.__all__)


def _entry(path: str, found: object) -> str:
    """Return one entry; fields of structs and members of enums are shown unless the docstring tells them."""
    tells_by_fields = inspect.isclass(found) and (issubclass(found, Enum) or hasattr(found, "__struct_fields__"))
    if tells_by_fields and "Attributes:" not in (found.__doc__ or ""):
        return f"::: {path}\n    options:\n      show_if_no_docstring: true"
    return f"::: {path}"


def error_tree() -> str:
    """Return the tree of errors as the module draws it."""
    text = inspect.getdoc(importlib.import_module("kontinue.errors")) or ""
    tree = [line for line in text.splitlines() if line == "KontinueError" or line.lstrip()[:1] in tuple("├│└")]
    return "\n".join(["```text", *tree, "```"])
