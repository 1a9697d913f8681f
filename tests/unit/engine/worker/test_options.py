"""The command line of a worker: what it means, and what is refused with a reason."""

import pytest

from kontinue.api.v1alpha1 import ExecutionTTL
from kontinue_engine.sharding.leases import MARGIN_S, LeaseTimes
from kontinue_engine.worker.options import parse_options
from kontinue_engine.worker.pages import Address


def test_only_the_app_is_needed():
    """Everything else has a default; one replica runs all, as the reference says."""
    options = parse_options(["shop:app"])
    assert options.app == "shop:app"
    assert (options.sharding, options.lease) == (False, LeaseTimes(duration_s=40, renew_s=10.0))
    assert (options.namespace, options.group, options.sync_runners, options.runner_memory_bytes) == (None,) * 4
    assert (options.take_ownership, options.prune, options.health) == (False, True, None)
    assert (options.recycle_after, options.recycle_above_bytes, options.cancel_grace_s) == (None, None, 5)


def test_a_default_ttl_may_be_given_in_part():
    """As the spec of an Execution says it; without the options nothing is archived or deleted by itself."""
    assert parse_options(["a:b"]).ttl is None
    assert parse_options(["a:b", "--archive-after", "24h"]).ttl == ExecutionTTL(archive_after="24h")
    both = parse_options(["a:b", "--archive-after", "24h", "--delete-after", "720h"])
    assert both.ttl == ExecutionTTL(archive_after="24h", delete_after="720h")


def test_every_option_arrives():
    """In the units of the program."""
    command = (
        "shop:app --app-dir d -n ns --group g --kubeconfig k --context c --shard s --sync-runners 2 --async-runners 3 "
        "--runner-memory-mib 64 --max-active 7 --crash-budget 0 --sharding --lease-duration 20 --lease-renew 2.5 "
        "--grace 0 --take-ownership --no-prune --max-in-flight 9 --log-level debug --health-port 8081 --health-host :: "
        "--metrics-port 8080 --metrics-host 10.0.0.1 "
        "--recycle-after 100 --recycle-above-mib 48 --cancel-grace 0.5"
    )
    options = parse_options(command.split())
    assert (options.app_dir, options.namespace, options.group) == ("d", "ns", "g")
    assert (options.kubeconfig, options.context, options.shard) == ("k", "c", "s")
    assert (options.sync_runners, options.async_runners, options.runner_memory_bytes) == (2, 3, 64 * 2**20)
    assert (options.crash_budget, options.grace_s, options.max_in_flight) == (0, 0, 9)
    assert (options.sharding, options.lease) == (True, LeaseTimes(duration_s=20, renew_s=2.5))
    assert (options.take_ownership, options.prune) == (True, False)
    assert (options.log_level, options.max_active) == ("debug", 7)
    assert options.health == Address(port=8081, host="::")
    assert options.metrics == Address(port=8080, host="10.0.0.1")
    assert (options.recycle_after, options.recycle_above_bytes) == (100, 48 * 2**20)
    assert options.cancel_grace_s == 0.5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "MODULE:APP"),
        ("a:b --sync-runners 0", "0 is not a positive number"),
        ("a:b --health-port 70000", "70000 is not a port: 1 to 65535"),
        ("a:b --metrics-port 0", "0 is not a port: 1 to 65535"),
        ("a:b --max-active 0", "0 is not a positive number"),
        ("a:b --archive-after 1d", "'1d' is not a duration"),
        ("a:b --delete-after 0s", "0s is no length of time"),
        ("a:b --recycle-after 0", "0 is not a positive number"),
        ("a:b --recycle-above-mib 1.5", "1.5 is not a positive number"),
        ("a:b --cancel-grace=-1", "-1 is not a number of seconds"),
        ("a:b --max-in-flight many", "many is not a positive number"),
        ("a:b --crash-budget=-1", "-1 is not 0 or more"),
        ("a:b --grace=-1", "-1 is not a number of seconds"),
        ("a:b --grace soon", "soon is not a number of seconds"),
        ("a:b --log-level loud", "loud"),
        ("a:b --lease-duration 5", "the shortest that can be renewed in time lasts 6 s"),
        ("a:b --lease-duration 6", "a renewal every 10 s"),
        ("a:b --lease-duration 10 --lease-renew 5", "at most 2.5 s"),
        ("a:b --lease-renew 0", "at least 0.5 s"),
        ("a:b --lease-renew nan", "nan is not a number of seconds"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(arguments, says, capsys):
    """Status 2, and no worker that renews its Lease a thousand times a second."""
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["--lease-duration 7 --lease-renew 1", "--lease-duration 10 --lease-renew 2.5"])
def test_two_renewals_fit_before_the_fence(arguments):
    """One lost renewal must not cost the Lease."""
    options = parse_options(["a:b", *arguments.split()])
    assert 2 * options.lease.renew_s <= options.lease.duration_s - MARGIN_S


def test_who_has_long_to_clean_up_is_waited_for_longer():
    """A mutex must not be given on while the code of a deleted Execution may still run by right."""
    assert parse_options(["a:b"]).lease.patience_s == 40 + 20
    assert parse_options(["a:b", "--cancel-grace", "0"]).lease.patience_s == 40 + 20
    assert parse_options(["a:b", "--cancel-grace", "60"]).lease.patience_s == 40 + 75
