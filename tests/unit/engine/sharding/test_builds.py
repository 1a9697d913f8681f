"""When a group is of one build, so that what only some of its replicas know may be changed."""

import pytest

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue_engine.sharding.builds import of_other_builds
from kontinue_engine.sharding.lease_book import LeaseBook


def shards(now_s: float = 0, **builds: str):
    """Return shards whose holders say that they run those builds; a build in brackets has been given back."""
    book = LeaseBook("g")
    for name, build in builds.items():
        notes = {labels.INCARNATION: name} | ({labels.BUILD: build.strip("()")} if build else {})
        holder = "" if build.startswith("(") else name
        meta = ObjectMeta(name=f"kontinue-shard.g.{name}", annotations=notes)
        book.observe(Lease(metadata=meta, spec=LeaseSpec(holder_identity=holder, lease_duration_seconds=40)), 0)
    return book.shards(now_s)


@pytest.mark.parametrize(
    ("found", "others"),
    [
        pytest.param(shards(), [], id="nobody"),
        pytest.param(shards(a="b1", b="b1"), [], id="all run it"),
        pytest.param(shards(a="b1", b="b0", c="b2"), ["b", "c"], id="some run other code"),
        pytest.param(shards(a="b1", b="(b0)"), [], id="who ran other code has stopped"),
        pytest.param(shards(a="b1", b=""), ["b"], id="one does not say what it runs"),
        pytest.param(shards(41, a="b1", b="b0"), ["b"], id="one is silent but may wake up"),
    ],
)
def test_every_shard_that_is_not_gone_must_run_the_build(found, others):
    """A silent replica may go on; only a Lease that was given back or taken away proves that it does not."""
    assert of_other_builds(found, "b1") == others
