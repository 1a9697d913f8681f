"""Reads Prometheus' text format strictly: a line that it does not know fails the test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)")
HELP = re.compile(rf"# HELP ({NAME}) .+")
ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Sample(NamedTuple):
    """A time series."""

    name: str
    labels: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, name: str, labels: Mapping[str, str]) -> Sample:
        """Return that of a name and labels."""
        return cls(name, frozenset(labels.items()))


def parse(text: str) -> dict[Sample, float]:
    """Return the value of each time series; none comes twice, and each has a type."""
    found: dict[Sample, float] = {}
    types = types_of(text)
    for line in text.splitlines():
        if line.startswith("#"):
            assert TYPE.fullmatch(line) or HELP.fullmatch(line), line
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert {match[1], re.sub("_(bucket|sum|count)$", "", match[1])} & types.keys(), line
        labels, end = {}, 0
        for label in LABEL.finditer(match[2] or ""):
            assert label.start() == end, line
            assert label[1] not in labels, line
            labels[label[1]] = re.sub(r"\\.", lambda escape: ESCAPED[escape[0]], label[2])
            end = label.end()
        assert end == len(match[2] or ""), line
        sample = Sample.of(match[1], labels)
        assert sample not in found, line
        found[sample] = float(match[3])
    assert not text or text.endswith("\n")
    return found


def types_of(text: str) -> dict[str, str]:
    """Return the type of each metric."""
    found = [match for line in text.splitlines() if (match := TYPE.fullmatch(line))]
    assert len({match[1] for match in found}) == len(found)
    return {match[1]: match[2] for match in found}
