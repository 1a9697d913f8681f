"""Custom objects are judged by their schema: which values pass, and what is said about those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import crds
from api import Api
from crds import definition, version

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "validated_values.json").read_text())
"""Schemas of a field ``p`` of the spec, each with values and the (reason, field, message) of what is wrong."""


async def test_every_keyword_and_format_judges_as_in_kubernetes(api: Api) -> None:
    """Types, limits, patterns, formats, allOf and the like, lists, embedded resources: equal causes on both servers."""
    group = crds.group()
    crd = definition(group, version(spec={f"p{index}": case["schema"] for index, case in enumerate(CASES)}))
    async with crds.installed(api, crd):
        for index, case in enumerate(CASES):
            found = []
            for one in case["values"]:
                causes = await causes_of(api, group, {f"p{index}": one["value"]})
                found.append({"value": one["value"], "causes": _as_if_named_p(causes, index, one["causes"])})
            assert found == case["values"], case["schema"]


async def causes_of(api: Api, group: str, spec: dict[str, Any]) -> list[list[str]]:
    """Return (reason, field, message) of what is wrong with an object, in order."""
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": spec}
    status, body = await api.send("POST", f"{api.path(f'{group}/v1/things')}?dryRun=All", thing)
    if status == 201:
        return []
    assert (status, body["reason"]) == (422, "Invalid"), body
    return sorted([cause["reason"], cause["field"], cause["message"]] for cause in body["details"]["causes"])


def _as_if_named_p(causes: list[list[str]], index: int, wanted: list[list[str]]) -> list[list[str]]:
    """Return causes of the field ``p``, each message cut to the length of the wanted one: some end in long advice."""
    named = [
        [reason, field.replace(f"spec.p{index}", "spec.p"), message.replace(f"spec.p{index}", "spec.p")]
        for reason, field, message in causes
    ]
    if len(named) != len(wanted):
        return named
    return [
        [reason, field, message[: len(want[2])]] for (reason, field, message), want in zip(named, wanted, strict=True)
    ]
