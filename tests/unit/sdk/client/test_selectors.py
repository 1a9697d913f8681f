"""Filters of lists become selectors that an API server evaluates."""

import pytest

from kontinue.api.v1alpha1 import Phase
from kontinue.client.selectors import Selectors, execution_filter


def selectors(**given):
    options = {"function": None, "wanted_labels": {}, "root": None, "schedule": None, "worker_group": None}
    return execution_filter(**{**options, "phases": (), "only_root": False, **given}).selectors()


def test_nothing_given_selects_everything():
    """No filter, no selector."""
    assert selectors() == Selectors("", "")


def test_labels_select_by_root_group_and_own_labels():
    """Long values are cut as they were when written."""
    found = selectors(wanted_labels={"team": "a"}, root="r" * 70, worker_group="g", only_root=True)
    team, root, group, only_root = found.labels.split(",")
    assert (team, group, only_root) == ("team=a", "kontinue.cloud/worker-group=g", "!kontinue.cloud/root")
    assert root.startswith("kontinue.cloud/root=rrr")
    assert len(root.partition("=")[2]) == 63


def test_function_is_a_field():
    """The registered name, whatever its form."""
    assert selectors(function="deploy_service").fields == "spec.function=deploy_service"


def test_phases_are_chosen_by_leaving_out_the_others():
    """A new object has no phase, which is Pending."""
    left_out = set(selectors(phases=["Completed", Phase.FAILED]).fields.split(","))
    assert left_out == {
        f"status.phase!={phase}"
        for phase in ("", "Pending", "Executing", "Suspended", "Backoff", "Blocked", "Canceled", "Skipped")
    }
    pending = selectors(phases=["Pending"]).fields.split(",")
    assert "status.phase!=" not in pending
    assert "status.phase!=Pending" not in pending


def test_unknown_phase_is_refused():
    """A typing mistake does not select everything."""
    with pytest.raises(ValueError, match="Complete"):
        selectors(phases=["Complete"])
