"""Bodies in each of their forms, from bytes to a document that can be written as JSON again."""

from __future__ import annotations

import contextlib

import orjson

from fuzzing.target import target
from kontinue_engine.apiserver.apply import options
from kontinue_engine.apiserver.http import duplicates, requests
from kontinue_engine.apiserver.objects import deletion
from kontinue_engine.apiserver.resources import EVENTS
from kontinue_engine.apiserver.statuses import StatusError

JOB = (
    b'{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a","labels":{"a":"b","a":"c"}},'
    b'"spec":{"backoffLimit":1.0,"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}}'
)
YAML = b"""apiVersion: v1
kind: ConfigMap
metadata: &m {name: a, annotations: {x: 'y'}, <<: {z: on}}
data:
  "a": |
    text
  b: !!str 0x1F
  a: 2026-01-01
list: [*m, ~, .5, -0o7, 1_000, 1e400, .inf, !!binary aGk=, !!set {a, b}, !!timestamp 2026-01-01]
"""


def field(number: int, content: bytes) -> bytes:
    """Return a field of protobuf that holds bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def _envelope(api_version: bytes, kind: bytes, content: bytes) -> bytes:
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind)) + field(2, content)


METADATA = field(1, field(1, b"a") + field(8, b"\x08\x80\x92\xb8\xc3\x06") + field(11, field(1, b"k") + field(2, b"v")))
LEASE = METADATA + field(
    2, field(1, b"holder") + b"\x10\x0f" + field(4, b"\x08\x80\x92\xb8\xc3\x06\x10\x80\x94\xeb\xdc\x03")
)
SERVICE = METADATA + field(2, field(1, field(1, b"p") + b"\x18\x50" + field(4, b"\x08\x01\x1a\x01x")) + b"\x68\x01")


@target(
    JOB, b'[1e999, -0, "\\ud83d\\ude42", "\\ud800", 18446744073709551615]', b"[[[[{}]]]]", b'{"a":1,"a":{"b":1,"b":2}}'
)
def json_body(data: bytes) -> None:
    """And what it names twice."""
    document = requests.parse_body(data, "application/json; charset=utf-8")
    duplicates.complaints(data)
    orjson.dumps(document)


@target(
    YAML,
    JOB,
    b"a: &a [x, &b {c: d}]\nb: [*a, *a]\n? [k]\n: v\n",
    b"--- !<tag:yaml.org,2002:int> '0b1_0'\n...\n--- 2",
    b"[!!float 1:30, !!int 190:20:30, !!omap [a: b], !!pairs [a: b], !!python/none x, !x y]",
)
def yaml_body(data: bytes) -> None:
    """Read by two parsers: one that adds up what aliases stand for, and one that builds it."""
    document = requests.parse_body(data, "application/yaml")
    duplicates.yaml_complaints(data)
    assert orjson.loads(orjson.dumps(document)) == document


@target(
    _envelope(b"coordination.k8s.io/v1", b"Lease", LEASE),
    _envelope(b"v1", b"Service", SERVICE),
    _envelope(b"v1", b"ConfigMap", METADATA + field(2, field(1, b"k") + field(2, b"v")) + field(3, field(1, b"b"))),
    _envelope(b"v1", b"DeleteOptions", b"\x08\x1e" + field(4, b"Background")),
)
def protobuf_body(data: bytes) -> None:
    """With the names of its kind."""
    document = requests.parse_body(data, requests.PROTOBUF_TYPE, takes_protobuf=True)
    assert document["kind"]
    orjson.dumps(document)


@target(
    b'dryRun=All&gracePeriodSeconds=0\n{"kind":"DeleteOptions","propagationPolicy":"Orphan","preconditions":{"uid":"u"}}',
    b'orphanDependents=true\n{"gracePeriodSeconds":-1,"dryRun":["All"],"preconditions":{"resourceVersion":"1"}}',
)
def delete_options(data: bytes) -> None:
    """From the query and the body."""
    query, _, body = data.partition(b"\n")
    deletion.parse_delete_options(requests.parse_query(query.decode("latin-1")), body, "")


@target(
    b'{"apiVersion":"v1","kind":"Event","metadata":{"name":"a"},"count":2.0}',
    b"apiVersion: v1\nkind: Event\nmetadata:\n  name: a\n",
)
def applied_configuration(data: bytes) -> None:
    """As an apply sends it."""
    with contextlib.suppress(StatusError):
        config = options.parse_configuration(EVENTS, data)
        assert isinstance(config["metadata"], dict)
