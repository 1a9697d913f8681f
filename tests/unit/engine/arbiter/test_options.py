"""The command line of a coordinator."""

from __future__ import annotations

import pytest

from kontinue_engine.arbiter.options import ArbiterOptions, parse_options
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker import options as worker_options
from kontinue_engine.worker.pages import Address


def test_nothing_need_be_said():
    """Namespace and server are those of the kubeconfig that is found."""
    assert parse_options([]) == ArbiterOptions()


def test_everything_can_be_said():
    """As the chart does."""
    words = ["-n", "batch", "-A", "--kubeconfig", "file", "--context", "c", "--log-level", "debug"]
    words += ["--api-group", "sync.konductor.io,konductor.io"]
    words += ["--lease-duration", "20", "--lease-renew", "2.5", "--health-port", "8081", "--health-host", "0.0.0.0"]
    assert parse_options(words) == ArbiterOptions(
        namespace="batch",
        all_namespaces=True,
        api_groups=("sync.konductor.io", "konductor.io"),
        kubeconfig="file",
        context="c",
        lease=LeaseTimes(duration_s=20, renew_s=2.5),
        log_level="debug",
        health=Address(port=8081, host="0.0.0.0"),
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--lease-duration", "5"],
        ["--lease-duration", "10", "--lease-renew", "4"],
        ["--health-port", "0"],
        ["--api-group", "konductor.io,kontinue.cloud"],
    ],
)
def test_what_cannot_work_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]):
    """With the option that is wrong."""
    with pytest.raises(SystemExit) as refused:
        parse_options(words)
    assert refused.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--lease-duration", "long"], "long is not a positive number"),
        (["--lease-renew", "-1"], "-1 is not a number of seconds"),
        (["--health-port", "http"], "http is not a port: 1 to 65535"),
    ],
)
def test_a_coordinator_says_what_is_wrong_as_a_worker_does(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
):
    """One way to read an option."""
    for parse, more in ((parse_options, []), (worker_options.parse_options, ["shop:app"])):
        with pytest.raises(SystemExit):
            parse([*more, *words])
        assert says in capsys.readouterr().err
