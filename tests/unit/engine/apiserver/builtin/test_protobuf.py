from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from kontinue_engine.apiserver.builtin.protobuf import decode_body
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.statuses import StatusError

RECORDED = [
    base64.b64decode(case["bytes"])
    for case in json.loads((Path(__file__).parents[4] / "conformance" / "data" / "protobuf_bodies.json").read_text())
]


def test_a_body_names_its_kind() -> None:
    """And carries no zero values."""
    assert decode_body(RECORDED[0])["metadata"] == {"name": "two"}
    assert {decode_body(body)["kind"] for body in RECORDED} >= {"Job", "Deployment", "Service", "Role"}


@hypothesis.given(body=st.sampled_from(RECORDED), data=st.data())
@hypothesis.settings(max_examples=200)
def test_damaged_bodies_are_refused_or_something_else_that_is_valid(body: bytes, data: st.DataObject) -> None:
    """Any byte may be wrong and any number of them missing."""
    position = data.draw(st.integers(4, len(body) - 1))
    damaged = bytearray(body)
    damaged[position] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(position, len(body))) :]
    with contextlib.suppress(StatusError):
        assert isinstance(decode_body(bytes(damaged)), dict)


def test_custom_kinds_have_no_protobuf() -> None:
    """415 with what is taken instead."""
    with pytest.raises(StatusError, match="application/json") as caught:
        requests.parse_body(RECORDED[0], requests.PROTOBUF_TYPE)
    assert caught.value.code == 415
