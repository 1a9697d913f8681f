"""Which Jobs an Execution has left that have not ended: asked by each that ends, while many thousands may be kept."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kontinue.kube.watch import EventType
from kontinue_engine.kube.followed_jobs import FollowedJob, FollowedJobs
from kontinue_engine.kube.job_views import JobView


def job(name: str, *, owner: str = "a", phase: str = "Running", gates: Sequence[str] = ()) -> JobView:
    reference = {"apiVersion": "v1", "kind": "Execution", "name": owner, "uid": f"uid-{owner}"}
    meta = {"name": name, "uid": f"uid-{name}", "ownerReferences": [reference]}
    spec = {"schedulingGates": [{"name": gate} for gate in gates]}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": {"phase": phase}}, JobView)


def unended(jobs: FollowedJobs, owner: str) -> set[str]:
    return {one.name for one in jobs.unended_of(f"uid-{owner}")}


def test_those_of_an_execution_that_have_not_ended_are_known_after_every_change() -> None:
    """After a list, an end, a deletion, and one of the same name for another Execution."""
    news: list[str] = []

    def note(_: str, one: FollowedJob) -> None:
        news.append(one.name)

    jobs = FollowedJobs("Pod", on_news=note, on_listed=news.append)
    jobs.on_list([job("1"), job("2"), job("3", phase="Failed"), job("4", owner="b")], initial=True)
    assert (unended(jobs, "a"), unended(jobs, "b"), unended(jobs, "c")) == ({"1", "2"}, {"4"}, set())
    changes: list[tuple[EventType, JobView]] = [
        ("MODIFIED", job("1", phase="Succeeded")),
        ("MODIFIED", job("2", owner="b")),
        ("DELETED", job("4", owner="b")),
        ("DELETED", job("5")),
        ("ADDED", job("6")),
        ("MODIFIED", job("6")),
    ]
    for type_, one in changes:
        jobs.on_event(type_, one)
    assert (unended(jobs, "a"), unended(jobs, "b")) == ({"6"}, {"2"})
    assert news == ["Pod", "1", "2", "4", "5"]
    jobs.on_list([job("2", owner="b")], initial=False)
    assert (unended(jobs, "a"), unended(jobs, "b")) == (set(), {"2"})


def test_one_that_appears_is_news_only_if_it_has_ended_or_may_not_start() -> None:
    """Whoever has created it knows it from the answer; the watch may be late, and would wake him for nothing."""
    news: list[str] = []
    jobs = FollowedJobs("Pod", on_news=lambda _, one: news.append(one.name), on_listed=news.append)
    jobs.on_event("ADDED", job("1"))
    jobs.on_event("ADDED", job("2", phase="Failed"))
    jobs.on_event("ADDED", job("3", phase="Pending", gates=["room"]))
    assert news == ["2", "3"]
    jobs.on_event("MODIFIED", job("1", phase="Succeeded"))
    jobs.on_event("MODIFIED", job("3", phase="Pending"))
    assert news == ["2", "3", "1", "3"]
