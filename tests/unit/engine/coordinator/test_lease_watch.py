"""Who waits for news of a Lease hears of each, and who holds one hears at once what becomes of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.clock import SystemClock
from kontinue_engine.coordinator.lease_watch import LeaseWatch
from kontinue_engine.sharding.lease_book import LeaseBook

OWN = Lease(metadata=ObjectMeta(name="kontinue-shard.g.a"), spec=LeaseSpec(holder_identity="a"))
OTHER = Lease(metadata=ObjectMeta(name="kontinue-shard.g.b"), spec=LeaseSpec(holder_identity="b"))


@pytest.fixture
def watch() -> LeaseWatch:
    return LeaseWatch(LeaseBook("g"), SystemClock())


class Holder:
    """Keeps what it is shown of its Lease."""

    name = OWN.metadata.name

    def __init__(self) -> None:
        self.found: list[Lease | None] = []
        self.seen = self.found.append


def test_a_holder_is_told_of_every_change_of_its_lease_and_of_no_other(watch: LeaseWatch) -> None:
    """That it was deleted must not wait for the next renewal."""
    holder = Holder()
    with watch.guarding(cast("Any", holder)):
        watch.on_event("MODIFIED", OWN)
        watch.on_event("MODIFIED", OTHER)
        watch.on_event("DELETED", OTHER)
        watch.on_event("DELETED", OWN)
    assert holder.found == [OWN, None]


def test_a_holder_is_told_by_a_list_what_events_were_missed(watch: LeaseWatch) -> None:
    """After a watch that was cut."""
    holder = Holder()
    with watch.guarding(cast("Any", holder)):
        watch.on_list([OTHER, OWN], initial=True)
        watch.on_list([OTHER], initial=False)
    assert holder.found == [OWN, None]


def test_a_lease_is_guarded_for_as_long_as_its_holder_wants(watch: LeaseWatch) -> None:
    """That of leadership comes and goes."""
    holder = Holder()
    with watch.guarding(cast("Any", holder)):
        pass
    watch.on_event("DELETED", OWN)
    assert holder.found == []


async def test_subscribers_are_woken_by_lists_and_events(watch: LeaseWatch) -> None:
    """Until they leave."""
    news = watch.subscribed()
    watch.on_list([OWN], initial=True)
    assert news.is_set()
    news.clear()
    watch.on_event("MODIFIED", OWN)
    assert news.is_set()
    news.clear()
    watch.unsubscribe(news)
    watch.on_event("DELETED", OWN)
    assert not news.is_set()
