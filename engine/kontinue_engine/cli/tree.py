"""Internal. ``kontinue tree [-w] NAME`` and ``kontinue watch NAME``: an Execution and everything below it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from kontinue.client.tree import ExecutionTree, ExecutionTreeNode, NodeKind
from kontinue.kube import requests
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.execution_tree import draw_tree, format_line
from kontinue_engine.cli.following import follow, say_detached
from kontinue_engine.cli.objects import format_document, reference
from kontinue_engine.cli.options import GlobalOptions, NameArgument, OutputFormat, global_options, note
from kontinue_engine.cli.progress import open_progress

_RESOURCES: Final = {
    NodeKind.EXECUTION: requests.EXECUTIONS,
    NodeKind.SUSPENSION: requests.SUSPENSIONS,
    NodeKind.JOB: requests.JOBS,
}


def command(
    ctx: typer.Context,
    name: NameArgument,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Follow it to its end.")] = False,  # noqa: FBT002
) -> None:
    """Show the tree of an Execution: phase, duration, and why it is where it is; -o json lists its nodes."""
    options = global_options(ctx)
    if watch:
        follow_tree(options, name)
        return

    async def main() -> int:
        async with connect(options) as connection:
            tree = await connection.client.get_tree(name)
        if tree.is_archived:
            note(options, f"{name} has been archived: the tree is read from its archive.")
        for line in format_tree(tree, options):
            print(line)
        return exit_codes.OK

    run(main)


def follow_tree(options: GlobalOptions, name: str) -> None:
    """Show a tree until its root has ended, and leave with the exit code of that."""
    if not options.is_table:
        raise typer.BadParameter(f"a tree that is followed is no {options.output.value}", param_hint="-o")

    async def main() -> int:
        async with connect(options) as connection:
            execution = await follow(connection, name, open_progress(options, sys.stdout))
        return exit_codes.exit_code_of(execution.phase)

    run(main, on_interrupt=lambda: say_detached(options, name, options.namespace or ""))


def format_tree(tree: ExecutionTree, options: GlobalOptions) -> Iterator[str]:
    """Yield the lines of a tree in the format that is asked for; of documents, nodes with their depth."""
    if options.output is OutputFormat.NAME:
        for _, node in tree.walk():
            if (resource := _RESOURCES.get(node.kind)) is not None:
                yield reference(resource, node.name)
    elif not options.is_table:
        nodes = [_document_of(depth, node) for depth, node in tree.walk()]
        yield format_document(msgspec.to_builtins(nodes), output=options.output)
    else:
        for line in draw_tree(tree, datetime.now(UTC)):
            yield format_line(line, color=options.colors_on(sys.stdout))


def _document_of(depth: int, node: ExecutionTreeNode) -> dict[str, Any]:
    """Return a node without what is below it: trees are deeper than documents may be."""
    return {
        "depth": depth,
        "kind": node.kind.value,
        "name": node.name,
        "namespace": node.namespace,
        "phase": node.phase,
        "message": node.message,
        "createdAt": node.created_at,
        "startedAt": node.started_at,
        "finishedAt": node.finished_at,
        "attemptNumber": node.attempt_number,
    }
