"""Pages that are not what was written are as good as missing. Against servers: ``tests/integration/controllers``."""

from __future__ import annotations

import msgspec
import pytest

from kontinue.api.v1alpha1 import MemoPageSpec
from kontinue.naming import memo_page_name
from kontinue_engine.kube import memo_pages
from kontinue_engine.kube.memo_pages import PageMissingError
from kontinue_engine.lifecycle.memo import OPEN_RECORDS, MemoBytes
from kontinue_engine.wire.frames import EncodedRecord


def written() -> tuple[MemoBytes, dict[str, MemoPageSpec]]:
    """Return a memo of two pages, and these by their names."""
    memo = MemoBytes()
    for start in (0, OPEN_RECORDS):
        numbers = range(start, start + OPEN_RECORDS)
        records = [EncodedRecord(str(n), msgspec.json.encode({"id": str(n), "seq": n + 1})) for n in numbers]
        memo = memo.extended(build="b", records=records)
    return memo, {
        memo_page_name("e", 0, page.digest): MemoPageSpec(
            execution="e", run_epoch=0, number=page.number, memo=msgspec.Raw(page.memo), previous=page.previous
        )
        for page in memo.closing
    }


def test_pages_are_joined_in_their_order() -> None:
    """From the last one, which the status names."""
    memo, pages = written()
    assert memo.pages is not None
    found = memo_pages.join("e", 0, memo.pages, pages)
    assert [len(page.records) for page in found] == [OPEN_RECORDS, OPEN_RECORDS]


@pytest.mark.parametrize("number", [1, 2])
def test_a_page_that_somebody_has_replaced_by_a_shorter_one_is_missed(number: int) -> None:
    """The code would be blamed for what is not there, and no build could mend that."""
    memo, pages = written()
    assert memo.pages is not None
    name = next(name for name, page in pages.items() if page.number == number)
    pages[name] = msgspec.structs.replace(pages[name], memo=msgspec.Raw(b'{"records":[]}'))
    with pytest.raises(PageMissingError, match=f"hold {OPEN_RECORDS} records, and not the {2 * OPEN_RECORDS} written"):
        memo_pages.join("e", 0, memo.pages, pages)
