"""The command line of a coordinator."""

from __future__ import annotations

import pytest

from kontinue_engine.arbiter.options import CoordinatorOptions, parse_options
from kontinue_engine.sharding.leases import LeaseTimes
from kontinue_engine.worker.pages import Address


def test_nothing_need_be_said():
    """Namespace and server are those of the kubeconfig that is found."""
    assert parse_options([]) == CoordinatorOptions()


def test_everything_can_be_said():
    """As the chart does."""
    words = ["-n", "batch", "-A", "--kubeconfig", "file", "--context", "c", "--log-level", "debug"]
    words += ["--lease-duration", "20", "--lease-renew", "2.5", "--health-port", "8081", "--health-host", "0.0.0.0"]
    assert parse_options(words) == CoordinatorOptions(
        namespace="batch",
        all_namespaces=True,
        kubeconfig="file",
        context="c",
        lease=LeaseTimes(duration_s=20, renew_s=2.5),
        log_level="debug",
        health=Address(port=8081, host="0.0.0.0"),
    )


@pytest.mark.parametrize(
    "words", [["--lease-duration", "5"], ["--lease-duration", "10", "--lease-renew", "4"], ["--health-port", "0"]]
)
def test_what_cannot_work_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]):
    """With the option that is wrong."""
    with pytest.raises(SystemExit) as refused:
        parse_options(words)
    assert refused.value.code == 2
    assert words[0] in capsys.readouterr().err
