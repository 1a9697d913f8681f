"""Internal. ``kontinue doctor``: observes, judges, prints; exit code 1 if something is wrong."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer
import yaml

from kontinue.api.rights import INSTALLED, Role
from kontinue.errors import ConfigError
from kontinue_engine.cli import exit_codes
from kontinue_engine.cli.connection import connect, run
from kontinue_engine.cli.doctor.checks import judge
from kontinue_engine.cli.doctor.findings import Finding, Severity, error, format_findings
from kontinue_engine.cli.doctor.observing import Observer
from kontinue_engine.cli.options import GlobalOptions, OutputFormat, global_options


def command(
    ctx: typer.Context,
    role: Annotated[
        Role | None, typer.Option(help="Whose rights you must have. Default: those of worker, client or operator.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Objects of each kind to look at.")] = 2000,
) -> None:
    """Say what is wrong with server, rights, kinds, workers and Executions, and what to do about it."""
    options = global_options(ctx)
    if options.output is OutputFormat.NAME:
        raise typer.BadParameter("findings have no names: use table, json or yaml", param_hint="--output")

    async def main() -> int:
        try:
            async with connect(options) as connection:
                namespace = "" if options.all_namespaces else connection.namespace
                observer = Observer(
                    connection.transport,
                    connection.config,
                    namespace=namespace,
                    roles=[role] if role else INSTALLED,
                    limit=limit,
                    api_group=options.api_group,
                )
                findings = judge(await observer.observe())
        except ConfigError as problem:
            findings = [error("server", str(problem), "kontinue dev MODULE:APP starts a server here")]
        _print(findings, options)
        wrong = any(finding.severity is Severity.ERROR for finding in findings)
        return exit_codes.ERROR if wrong else exit_codes.OK

    run(main)


def _print(findings: list[Finding], options: GlobalOptions) -> None:
    shown = [finding for finding in findings if finding.severity is not Severity.OK or not options.quiet]
    if options.output in {OutputFormat.TABLE, OutputFormat.WIDE}:
        if shown:
            print(format_findings(shown, color=options.colors_on(sys.stdout)))
        return
    document: dict[str, Any] = {"findings": msgspec.to_builtins(shown)}
    if options.output is OutputFormat.YAML:
        print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n"))
    else:
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
