"""Who runs a group in the other way, as far as Leases say."""

import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding import rivals
from kontinue_engine.sharding.lease_book import LeaseBook


def book(**holders: str) -> LeaseBook:
    """Return a book of Leases; each of a shard unless called ``leader``; its holder's incarnation is given."""
    found = LeaseBook("g")
    for name, incarnation in holders.items():
        full_name = "kontinue-leader.g" if name == "leader" else f"kontinue-shard.g.{name}"
        notes = {labels.INCARNATION: incarnation} if incarnation else {}
        holder = "" if incarnation == "nobody" else "somebody"
        spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=40)
        found.observe(Lease(metadata=ObjectMeta(name=full_name, annotations=notes), spec=spec), 0)
    return found


@pytest.mark.parametrize(
    ("leases", "found"),
    [
        pytest.param(book(), [], id="nobody"),
        pytest.param(book(leader="i1"), [], id="a leader is no shard"),
        pytest.param(book(a="i1", b="i2", leader="i1"), ["a", "b"], id="every shard that is held"),
        pytest.param(book(a="nobody", b="i2"), ["b"], id="not one that was given back"),
    ],
)
def test_rivals_of_a_replica_without_sharding_are_the_shards(leases: LeaseBook, found: list[str]) -> None:
    """It would run what they run. Silent ones count: whether they live, the caller decides."""
    for now_s in (0, 41):
        seen = rivals.find(leases, "g", now_s=now_s, sharding=False)
        assert [one.lease.metadata.name for one in seen] == [f"kontinue-shard.g.{name}" for name in found]


@pytest.mark.parametrize(
    ("leases", "is_rival"),
    [
        pytest.param(book(), False, id="nobody leads"),
        pytest.param(book(leader="nobody", a="i2"), False, id="leadership was given back"),
        pytest.param(book(leader="i1"), True, id="it has no shard"),
        pytest.param(book(leader="i1", a="i2"), True, id="somebody else has a shard"),
        pytest.param(book(leader="i1", a="nobody"), True, id="its shard was given back"),
        pytest.param(book(leader="", a=""), True, id="it does not say who it is"),
        pytest.param(book(leader="i1", a="i2", b="i1"), False, id="it has a shard"),
    ],
)
def test_the_rival_of_a_sharded_replica_is_a_leader_without_a_shard(leases: LeaseBook, is_rival: bool) -> None:
    """A leader with a shard runs that alone, and gives the others theirs."""
    for now_s in (0, 41):
        seen = rivals.find(leases, "g", now_s=now_s, sharding=True)
        assert [one.lease.metadata.name for one in seen] == ["kontinue-leader.g"] * is_rival
