"""What a target and headers say: selectors, revisions, tokens, forms; and columns, amounts, times."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from urllib.parse import unquote

import orjson

from fuzzing.target import target
from kontinue_engine.apiserver import durations
from kontinue_engine.apiserver.apply import options as apply_options
from kontinue_engine.apiserver.builtin import quantities, times
from kontinue_engine.apiserver.discovery import discovery
from kontinue_engine.apiserver.http import access, requests, warning_headers
from kontinue_engine.apiserver.reads import json_path, list_options, selectors, views
from kontinue_engine.apiserver.resources import EVENTS
from kontinue_engine.apiserver.schemas import formats

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = {"app": "web", "size": "07", "example.com/zone": "", "n": "-1"}


@target(b"app=web,size>3,!x,tier notin (a, b,),example.com/zone in ()", b"a==b, c != d ,e<9", b" , ", b"a in (b)c")
def label_selector(data: bytes) -> None:
    """And asked of an object."""
    selector = selectors.parse_label_selector(data.decode("utf-8", "replace"))
    assert selector.matches(LABELS) in {True, False}


@target(b"metadata.name=a,reason!=b\\,c\\=d\\\\", b"involvedObject.kind==Pod,,type=", b"x=y")
def field_selector(data: bytes) -> None:
    """And asked of an object."""
    selector = selectors.parse_field_selector(data.decode("utf-8", "replace"), EVENTS.field_selectors)
    assert selector.renamed(EVENTS.field_aliases).matches(lambda name: name) in {True, False}


@target(
    b"labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=5&continue=eyJ2Ijoi&timeoutSeconds=-1",
    b"watch=1&resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1",
    b"resourceVersion=18446744073709551615&resourceVersionMatch=Exact&dryRun=All&fieldValidation=Strict&fieldManager=m",
    b"timeoutSeconds=9223372036854775807&watch&force=&pretty=%ff;&continue="
    + list_options.encode_continue(7, "a").encode(),
)
def query(data: bytes) -> None:
    """The options of a list or watch; refused or with values that can be used. Then those of a write."""
    found = requests.parse_query(data.decode("latin-1"))
    for read in (_read_list, _read_write):
        read(found)


def _read_list(found: dict[str, str]) -> None:
    options = list_options.parse_list_options(found, EVENTS)
    assert 0 <= options.rev < 2**64
    assert options.limit >= 0
    assert options.timeout_s is None or math.isfinite(options.timeout_s)


def _read_write(found: dict[str, str]) -> None:
    requests.parse_write_options(found, "CreateOptions")
    apply_options.applier(found)


@target(
    list_options.encode_continue(7, "default/a").encode(),
    base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":-1,"start":"/a/b\\u0000"}'),
    b"eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0",
)
def continue_token(data: bytes) -> None:
    """A token that is taken names a place and a revision that can be written as a token."""
    found = list_options.decode_continue(data.decode("utf-8", "replace"))
    again = list_options.decode_continue(list_options.encode_continue(found.rev, found.start))
    assert again == (found.rev, f"{found.start}\0")


@target(
    b"application/json;as=Table;v=v1;g=meta.k8s.io,application/json\nObject\nkubectl/v1.36 (linux) \xc3\xa9",
    b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,*/*;q=0.1\nNone\n",
    b";;,,=;as=\n\nBearer x",
)
def headers(data: bytes) -> None:
    """Accept, User-Agent and Authorization; and whatever text as a warning."""
    accept, included, other = [*data.split(b"\n", 2), b"", b""][:3]
    discovery.negotiate(accept.decode("latin-1"))
    for _, text in warning_headers.warning_headers([other.decode("utf-8", "replace")]):
        assert not {"\r", "\n", "\0"} & {*text}
    assert isinstance(apply_options.owner({}, other, "PatchOptions"), bytes)
    access.Authenticator("t").authenticate(unquote("/t" + included.decode("latin-1")), other)
    views.negotiate(accept, included.decode("latin-1"))


OBJECT = {"a": {"b": 1, "c.d": True}, "l": [{"n": "p", "v": 1.5}, {"n": "q", "v": None}, [1, [2]]], "n": None}


@target(b'.l[?(@.n=="q")].v', b".l[-1:][0]['x']", b".a.c\\.d", b".l[*].*[?(@>1)]", b"['a'].b", b".l[?(@.n!='p')]")
def printer_column(data: bytes) -> None:
    """A definition that can be stored can be printed."""
    orjson.dumps(json_path.find(OBJECT, data.decode("utf-8", "replace")))


@target(b"1Gi", b"500m", b"-1.5e3", b".5Ki", b"0.000000001", b"1E", b"9999999999999999999999Ei")
def quantity(data: bytes) -> None:
    """What it is in canonical form is the same in canonical form, unless that has too many digits to be read."""
    found = quantities.canonical(data.decode("utf-8", "replace"))
    assert found is None or quantities.canonical(found) in {found, None}


@target(b"2026-01-01T00:00:00Z", b"2026-02-29T23:59:60.5+14:00", b"0001-01-01T00:00:00.000000+23:59", b"2026-W01-1T00Z")
def time(data: bytes) -> None:
    """Of either precision; what is written is read again; and its age."""
    text = data.decode("utf-8", "replace")
    for canonical in (times.canonical_time, times.canonical_micro_time):
        found = canonical(text)
        assert found is None or canonical(found) == found
    moment = durations.parse_time(text)
    if moment is not None:
        assert durations.human_duration(NOW - moment)


@target(
    b"1h30m", b"2 weeks", b"::ffff:1.2.3.4", b"fe80::/64", b"a@b.c", b"rgb(1, 2,255)", b"2026-01-01", b"0-306-40615-2"
)
def text_format(data: bytes) -> None:
    """Every format says yes or no to every text."""
    text = data.decode("utf-8", "replace")
    for judge in formats.FORMATS.values():
        assert judge(text) in {True, False}
