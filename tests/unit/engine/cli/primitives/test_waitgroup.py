"""What ``kontinue waitgroup`` prints."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from kontinue.api.konductor.wait_groups import WaitGroup, WaitGroupSpec, WaitGroupStatus
from kontinue.api.meta import ObjectMeta
from kontinue.kube import requests
from kontinue_engine.cli.objects import print_objects
from kontinue_engine.cli.options import OutputFormat
from kontinue_engine.cli.primitives.waitgroup import KIND, describe, missing

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GROUP = WaitGroup(
    metadata=ObjectMeta(name="jobs", namespace="shop", creation_timestamp=NOW),
    spec=WaitGroupSpec(ttl="1000h30m15s500ms"),
)
RAW = msgspec.Raw(msgspec.json.encode(GROUP))


def test_a_list_fits_the_terminal():
    """As every other table of kontinue; without one it is as wide as it gets."""
    table = KIND.table([RAW], NOW, with_namespace=False, width=50)
    assert [len(line) <= 50 for line in table.splitlines()] == [True, True]
    assert GROUP.spec.ttl in KIND.table([RAW], NOW, with_namespace=False)


def test_progress_counts_what_is_left_of_what_was_added():
    """Before the first add there is nothing to count."""
    counted = msgspec.structs.replace(GROUP, status=WaitGroupStatus(counter=2, added=3))
    assert missing(counted) == "WaitGroup jobs: 2 of 3 to be done"
    assert missing(GROUP) == "WaitGroup jobs: nothing added yet"


@pytest.mark.parametrize(
    "status",
    [
        WaitGroupStatus(counter=2, added=30, rounds=4),
        WaitGroupStatus(counter=2),
        WaitGroupStatus(counter=2, added=1),
    ],
    ids=["a later round", "counted by the original", "edited"],
)
def test_progress_names_no_number_of_which_it_is_not_known_what_was_added(status: WaitGroupStatus):
    """What was added is counted over all rounds, by our clients alone."""
    assert missing(msgspec.structs.replace(GROUP, status=status)) == "WaitGroup jobs: 2 to be done"


@pytest.mark.parametrize(("ttl", "shown"), [("", "none"), ("0s", "none"), ("0", "none"), ("1h", "1h")])
def test_a_ttl_of_0_is_shown_as_none(ttl: str, shown: str):
    """As it counts: Go clients write it for what nobody has set."""
    group = msgspec.structs.replace(GROUP, spec=WaitGroupSpec(ttl=ttl))
    assert f"TTL:        {shown}\n" in describe(group, NOW)


def test_names_say_which_api_group_they_are_of(capsys: pytest.CaptureFixture[str]):
    """So that kubectl takes them as they are."""
    print_objects([RAW], output=OutputFormat.NAME, as_list=True, resource=requests.WAIT_GROUPS)
    assert capsys.readouterr().out == "waitgroups.konductor.io/jobs\n"
