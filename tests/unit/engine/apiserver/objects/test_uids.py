from __future__ import annotations

import uuid

from kontinue_engine.apiserver.objects.uids import UIDS_PER_DRAW, UidSource


def test_uids_are_uuids_of_version_4_and_never_the_same():
    """Also when the source has to draw anew."""
    source = UidSource()
    uids = [source.draw() for _ in range(3 * UIDS_PER_DRAW + 1)]
    assert len(set(uids)) == len(uids)
    for uid in uids:
        parsed = uuid.UUID(uid)
        assert (str(parsed), parsed.version, parsed.variant) == (uid, 4, uuid.RFC_4122)


def test_every_bit_that_is_free_varies():
    """122 of the 128 bits are random."""
    source = UidSource()
    values = [uuid.UUID(source.draw()).int for _ in range(2 * UIDS_PER_DRAW)]
    ones = zeros = 0
    for value in values:
        ones |= value
        zeros |= ~value
    assert (ones & zeros & (1 << 128) - 1).bit_count() == 122
