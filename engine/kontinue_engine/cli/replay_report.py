"""Internal. What `kontinue replay` prints: a table, and both sides of what differs; or JSON, YAML, names. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import yaml

from kontinue.api.v1alpha1 import Execution
from kontinue_engine.cli.options import OutputFormat
from kontinue_engine.cli.text import format_table, shorten
from kontinue_engine.replaying.verdicts import Finding, Verdict, describe

_MAX_CELL = 60


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found out about one Execution; ``-o json`` prints these fields, and those of the verdict."""

    name: str
    namespace: str = ""
    function: str
    phase: str
    build: str = ""
    """Of the code that recorded it."""
    verdict: Verdict


class _Memo(msgspec.Struct):
    """Of a memo that may be of any version."""

    build: str = ""


def report_of(execution: Execution, verdict: Verdict) -> Report:
    """Return what is printed about an Execution."""
    try:
        build = msgspec.json.decode(execution.status.state or b"{}", type=_Memo).build
    except msgspec.MsgspecError:
        build = ""
    return Report(
        name=execution.metadata.name,
        namespace=execution.metadata.namespace,
        function=execution.spec.function,
        phase=execution.phase.value,
        build=build,
        verdict=verdict,
    )


def format_reports(
    reports: Sequence[Report], *, output: OutputFormat, build: str, with_namespace: bool, width: int | None = None
) -> str:
    """Return all of it as text.

    Args:
        reports: in their order.
        output: as names: those that do not replay.
        build: of the code that they were replayed against.
        with_namespace: whether the table says where they are.
        width: of the terminal that the table is to fit; None cuts nothing.
    """
    match output:
        case OutputFormat.JSON:
            return msgspec.json.format(msgspec.json.encode([_flat(report) for report in reports]), indent=2).decode()
        case OutputFormat.YAML:
            documents = msgspec.to_builtins([_flat(report) for report in reports])
            return yaml.safe_dump(documents, sort_keys=False, allow_unicode=True).rstrip("\n")
        case OutputFormat.NAME:
            return "\n".join(report.name for report in reports if report.verdict.finding is not Finding.REPLAYS)
        case OutputFormat.TABLE | OutputFormat.WIDE:
            table = _table(reports, wide=output is OutputFormat.WIDE, with_namespace=with_namespace, width=width)
            differing = [report for report in reports if report.verdict.finding is Finding.DIFFERS]
            return "\n\n".join([table, *(describe(one.name, one.verdict, build=build) for one in differing)])


def _flat(report: Report) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(report)
    verdict = msgspec.to_builtins(report.verdict)
    return {**{name: value for name, value in fields.items() if name != "verdict"}, **verdict}


def _table(reports: Sequence[Report], *, wide: bool, with_namespace: bool, width: int | None) -> str:
    header = ["NAME", "FUNCTION", "PHASE", "RECORDS", "FINDING", *(["RECORDED-BY"] if wide else []), ""]
    rows = []
    for report in reports:
        verdict = report.verdict
        about = f"at step {verdict.step}" if verdict.finding is Finding.DIFFERS else verdict.message
        row = [
            report.name,
            report.function,
            report.phase,
            str(verdict.records),
            verdict.finding.value,
            *([report.build] if wide else []),
            about if wide or verdict.finding is not Finding.REPLAYS else shorten(about, _MAX_CELL),
        ]
        rows.append([report.namespace, *row] if with_namespace else row)
    return format_table(["NAMESPACE", *header] if with_namespace else header, rows, width=width)
