"""The memo as the supervisor keeps it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.errors import MemoUnreadableError
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.wire.frames import EncodedRecord

RECORDS = st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), max_size=5)


@given(RECORDS, st.dictionaries(st.text(max_size=3), st.integers(0, 2**53), max_size=3), st.text(max_size=5))
def test_a_memo_read_back_is_the_memo_that_was_written(
    records: list[dict[str, int]], timers: dict[str, int], build: str
) -> None:
    """Records come back byte for byte, whatever they contain."""
    encoded = [EncodedRecord(str(n), msgspec.json.encode(record)) for n, record in enumerate(records)]
    memo = MemoBytes().extended(build=build, records=encoded).extended(build=build, started=timers)
    assert parse_memo(memo.encode()) == memo


def test_a_record_ends_the_timer_of_its_step() -> None:
    """A timer without a record is running; one with a record has fired."""
    memo = MemoBytes().extended(build="b", started={"1": 5, "2": 6})
    memo = memo.extended(build="b", records=[EncodedRecord("1", b"{}")], forgotten=["2"])
    assert memo.timers == {}


def test_no_state_is_an_empty_memo() -> None:
    """A fresh Execution has none."""
    assert parse_memo(msgspec.UNSET).is_empty


@pytest.mark.parametrize("text", [b"[]", b'{"records":1}', b'{"timers":{"a":"b"}}'])
def test_a_state_edited_into_nonsense_is_named(text: bytes) -> None:
    """Somebody edited it by hand, or a newer version wrote it."""
    with pytest.raises(MemoUnreadableError, match=r"status\.state is not a memo"):
        parse_memo(msgspec.Raw(text))
