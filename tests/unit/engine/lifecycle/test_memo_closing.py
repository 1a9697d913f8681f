"""Pages of a memo: when they are closed, what they cost, and that whoever puts them together gets the whole memo."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue.api.v1alpha1 import MAX_PAGE_BYTES, MAX_STATE_BYTES, MemoPagesStatus
from kontinue_engine.lifecycle import memo as memos
from kontinue_engine.lifecycle.memo import OPEN_BYTES, OPEN_RECORDS, MemoBytes, Page, parse_memo
from kontinue_engine.wire.frames import EncodedRecord


def record(step: str, seq: int = 0, *, size: int = 0) -> EncodedRecord:
    return EncodedRecord(step, msgspec.json.encode({"id": step, "seq": seq, "value": "x" * size}))


def extended(memo: MemoBytes, *steps: str, size: int = 0, is_last: bool = False) -> MemoBytes:
    return memo.extended(build="b", records=[record(step, size=size) for step in steps], is_last=is_last)


class Store:
    """What an API server keeps: pages for good, and one status."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.state: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
        self.head: MemoPagesStatus | None = None

    def write(self, memo: MemoBytes) -> MemoBytes:
        for page in memo.closing:
            assert len(page.memo) <= MAX_PAGE_BYTES + 200
            self.pages[page.digest] = page
        self.state, self.head = memo.encode(), memo.pages
        read = parse_memo(self.state, self.head)
        assert read == memo.written()
        return read

    def whole(self) -> MemoBytes:
        found: list[MemoBytes] = []
        digest = self.head.last if self.head else ""
        for number in range(self.head.count if self.head else 0, 0, -1):
            page = self.pages[digest]
            assert page.number == number
            found.append(parse_memo(msgspec.Raw(page.memo)))
            digest = page.previous
        assert digest == ""
        return parse_memo(self.state, self.head).with_pages(found[::-1])


def test_records_past_the_limit_go_into_a_page_and_leave_the_status() -> None:
    """The page holds them all, in order; the status knows only the chain's end."""
    steps = [f"s{n}" for n in range(OPEN_RECORDS)]
    memo = extended(MemoBytes(), *steps)

    assert (memo.records, memo.size_bytes, len(memo.closing)) == ((), 0, 1)
    (page,) = memo.closing
    assert [one["id"] for one in msgspec.json.decode(page.memo)["records"]] == steps
    assert memo.pages == MemoPagesStatus(count=1, last=page.digest, records=OPEN_RECORDS, bytes=len(page.memo))
    assert memo.paged == OPEN_RECORDS


def test_few_records_stay_where_they_are() -> None:
    """A short function needs no pages."""
    assert extended(MemoBytes(), *"abc").pages is None


@pytest.mark.parametrize(("size", "pages"), [(100, 0), (OPEN_BYTES // 8, 0), (MAX_STATE_BYTES // 8, 1)])
def test_the_last_records_of_an_attempt_are_closed_only_if_they_do_not_fit(size: int, pages: int) -> None:
    """The write of an end costs no page more than it must."""
    memo = extended(MemoBytes(), *(f"s{n}" for n in range(9)), size=size, is_last=True)
    assert len(memo.closing) == pages


def test_a_record_that_is_larger_than_a_page_gets_one_of_its_own() -> None:
    """Nothing else stands beside it."""
    memo = MemoBytes().extended(
        build="b", records=[record("a"), record("large", size=MAX_PAGE_BYTES + 1), record("b"), record("c")]
    )
    found = [[one["id"] for one in msgspec.json.decode(page.memo)["records"]] for page in memo.closing]
    assert found == [["a"], ["large"], ["b", "c"]]
    assert memo.paged == 4


def test_the_same_memo_is_closed_into_the_same_page() -> None:
    """Who writes it again after a crash finds it."""
    steps = [f"s{n}" for n in range(OPEN_RECORDS)]
    assert extended(MemoBytes(), *steps).closing == extended(MemoBytes(), *steps).closing
    others = extended(MemoBytes(), *steps[:-1], "other").closing
    assert others[0].digest != extended(MemoBytes(), *steps).closing[0].digest


@pytest.mark.parametrize("size", [50, 1_000, 10_000])
def test_what_a_step_writes_does_not_grow_with_the_steps_before(size: int) -> None:
    """Status and pages together, on average over a window at the beginning and one after a thousand steps."""
    store, memo, sent = Store(), MemoBytes(), []
    for step in range(1_100):
        memo = extended(memo, f"s{step}", size=size)
        sent.append(1_000 + len(memo.encode()) + sum(len(page.memo) for page in memo.closing))
        memo = store.write(memo)
    early, late = sum(sent[:64]) / 64, sum(sent[1_000:1_064]) / 64
    assert late == pytest.approx(early, rel=0.15)


def test_running_anew_gives_the_pages_up() -> None:
    """Nothing of them counts any more."""
    memo = extended(MemoBytes(), *(f"s{n}" for n in range(40)))
    assert memo.emptied() == MemoBytes(build="b")


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(20, 200))
def test_a_memo_in_pages_is_what_it_would_be_without(seed: int, room: int, length: int) -> None:
    """Records, failures to blame, attempts and restarts in any order: put together it is the memo that never had pages.

    Steps are asked for again after a cut, in another order, as attempts that take other paths do.
    """
    rng = random.Random(seed)
    store, plain, paged = Store(), MemoBytes(), MemoBytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memos, "OPEN_RECORDS", room)
        patch.setattr(memos, "MAX_PAGE_BYTES", rng.choice([60, 150, MAX_PAGE_BYTES]))
        for number in range(length):
            count = len(plain.records)
            if count and rng.random() < 0.12:
                blamed = rng.sample(range(1, count + 1), k=min(count, rng.choice([0, 1, 1, 2, 5])))
                plain, paged = plain.cut(blamed), paged.cut(blamed)
            else:
                known = {msgspec.json.decode(one)["id"] for one in plain.records}
                steps = [step for step in rng.sample("abcdefghijklmnopqrstuvwxyz", k=4) if step not in known]
                records = [record(step, number) for step in steps[: rng.randint(1, 3)]]
                plain = _unclosed(plain, records)
                paged = paged.extended(build="b", records=records)
            if rng.random() < 0.8:
                paged = store.write(paged)
        store.write(paged)
        whole = store.whole()
    assert whole == plain


def _unclosed(memo: MemoBytes, records: list[EncodedRecord]) -> MemoBytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memos, "OPEN_RECORDS", 10**9)
        patch.setattr(memos, "OPEN_BYTES", 10**9)
        return memo.extended(build="b", records=records)
