"""What ``kontinue replay`` prints."""

from __future__ import annotations

import msgspec
import pytest
import yaml

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue_engine.cli.options import OutputFormat
from kontinue_engine.cli.replay_report import Report, format_reports, report_of
from kontinue_engine.replaying.verdicts import Finding, Verdict

FITS = Verdict(finding=Finding.REPLAYS, records=2, message="then waits for Timer trial")
DIFFERS = Verdict(
    finding=Finding.DIFFERS,
    records=3,
    step="2",
    recorded="step charge at shop.py:12, recorded by build b1",
    requested="step bill at shop.py:14",
)
UNCHECKED = Verdict(finding=Finding.UNCHECKED, message="MemoPage x is missing")


def report(name: str, verdict: Verdict) -> Report:
    state = msgspec.Raw(b'{"build":"b1"}')
    return report_of(
        Execution(
            metadata=ObjectMeta(name=name, namespace="ns"),
            spec=ExecutionSpec(function="flow", arguments=msgspec.Raw(b"{}")),
            status=ExecutionStatus(phase=Phase.SUSPENDED, state=state),
        ),
        verdict,
    )


REPORTS = [report("one", FITS), report("two", DIFFERS), report("three", UNCHECKED)]


def text(output: OutputFormat, *, with_namespace: bool = False) -> str:
    return format_reports(REPORTS, output=output, build="b2", with_namespace=with_namespace)


def test_the_table_is_followed_by_both_sides_of_what_differs() -> None:
    """With lines and builds."""
    assert text(OutputFormat.TABLE).splitlines() == [
        "NAME    FUNCTION   PHASE       RECORDS   FINDING",
        "one     flow       Suspended   2         Replays     then waits for Timer trial",
        "two     flow       Suspended   3         Differs     at step 2",
        "three   flow       Suspended   0         Unchecked   MemoPage x is missing",
        "",
        "two differs at step 2:",
        "  recorded:  step charge at shop.py:12, recorded by build b1",
        "  requested: step bill at shop.py:14, by build b2",
    ]


def test_a_wide_table_names_the_builds_and_one_of_several_namespaces_names_those() -> None:
    """Columns are added, none moves."""
    assert text(OutputFormat.WIDE).splitlines()[1].split()[5] == "b1"
    assert text(OutputFormat.TABLE, with_namespace=True).splitlines()[1].split()[0] == "ns"


@pytest.mark.parametrize("output", [OutputFormat.JSON, OutputFormat.YAML])
def test_documents_have_every_field_on_one_level(output: OutputFormat) -> None:
    """For scripts."""
    documents = yaml.safe_load(text(output))
    assert documents[1] == {
        "name": "two",
        "namespace": "ns",
        "function": "flow",
        "phase": "Suspended",
        "build": "b1",
        "finding": "Differs",
        "records": 3,
        "step": "2",
        "recorded": DIFFERS.recorded,
        "requested": DIFFERS.requested,
    }
    assert [document["finding"] for document in documents] == ["Replays", "Differs", "Unchecked"]


def test_names_are_those_of_what_does_not_replay() -> None:
    """To go on with, by xargs."""
    assert text(OutputFormat.NAME) == "two\nthree"


def test_a_memo_of_another_version_has_no_build() -> None:
    """It is told as what it is, by the verdict."""
    odd = Execution(
        metadata=ObjectMeta(name="odd"),
        spec=ExecutionSpec(function="flow", arguments=msgspec.Raw(b"{}")),
        status=ExecutionStatus(state=msgspec.Raw(b'{"build":5}')),
    )
    assert report_of(odd, UNCHECKED).build == ""


def test_the_table_fits_the_terminal() -> None:
    """What is wrong is cut, not what it is about; -o wide shows all of it."""
    table = format_reports(REPORTS, output=OutputFormat.TABLE, build="b2", with_namespace=False, width=64)
    lines = table.splitlines()[:4]
    assert max(map(len, lines)) <= 64
    assert [line.split()[0] for line in lines[1:]] == ["one", "two", "three"]
