"""Templates and manifests of Jobs, what is refused at the call, and what a result raises."""

from __future__ import annotations

from typing import Any

import pytest

from kontinue import DefinitionError, InvalidArguments, JobFailed, JobResult, JobTemplate
from kontinue.api.v1alpha1 import MAX_ARGUMENTS_BYTES
from kontinue.errors import NotFound
from kontinue.job_calls import job_call, pod_call
from kontinue.jobs import job_manifest, pod_manifest
from kontinue.replay.records import Record, RecordedError, RecordKind

CONTAINER = {
    "name": "main",
    "image": "shop:1",
    "command": ["alembic"],
    "args": ["upgrade"],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
}
TEMPLATE = JobTemplate(
    image="shop:1", command=["alembic"], args=["upgrade"], env={"B": "2", "A": "1"}, retries=2, labels={"team": "x"}
)


@pytest.mark.parametrize("name", ["command", "args"])
def test_a_template_refuses_one_text_for_a_list_of_words(name: str) -> None:
    """A text is a sequence of letters, and each of them would become an argument."""
    words: dict[str, Any] = {name: "ls -l"}
    with pytest.raises(DefinitionError, match=rf"JobTemplate\({name}='ls -l'\): .* {name}=\['ls', '-l'\]; for a shell"):
        JobTemplate(image="shop:1", **words)


def test_a_template_becomes_the_manifest_of_a_job_or_pod() -> None:
    """One container, which is not started again in its Pod."""
    pod_spec = {"restartPolicy": "Never", "containers": [CONTAINER]}
    assert job_manifest(TEMPLATE) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": {"team": "x"}},
        "spec": {"backoffLimit": 2, "template": {"spec": pod_spec}},
    }
    assert pod_manifest(TEMPLATE) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"team": "x"}},
        "spec": pod_spec,
    }


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("shop:1", "expected a JobTemplate or a manifest, got str"),
        ({"kind": "Pod", "spec": {}}, "expected a manifest of batch/v1 Job, got batch/v1 Pod"),
        ({"template": {}}, "the manifest has no spec"),
        ({"spec": {}, "metadata": []}, "metadata of the manifest is no object"),
    ],
)
def test_what_is_no_manifest_of_a_job_is_refused_at_the_call(manifest: Any, why: str) -> None:
    """With what it is instead."""
    with pytest.raises(DefinitionError, match=why):
        job_call(manifest, None)


def test_a_manifest_must_fit_json_and_an_object() -> None:
    """Before anything is recorded."""
    with pytest.raises(InvalidArguments, match="JSON cannot carry the manifest"):
        job_call({"spec": {"x": object()}}, None)
    with pytest.raises(InvalidArguments, match="the limit is"):
        pod_call({"spec": {"x": "y" * MAX_ARGUMENTS_BYTES}}, None)


def test_a_call_is_told_by_its_manifest_whatever_the_order_of_its_keys() -> None:
    """And called as its code says, or else as its manifest does."""
    one, other = job_call({"spec": {"a": 1, "b": 2}}, "x"), job_call({"kind": "Job", "spec": {"b": 2, "a": 1}}, "x")
    assert one.digest == other.digest != job_call({"spec": {}}, "x").digest
    assert (one.kind, one.name) == (RecordKind.JOB, "x")
    named = {"metadata": {"name": "migrate"}, "spec": {}}
    assert [pod_call(named, name).name for name in (None, "other")] == ["migrate", "other"]


def test_a_result_that_is_checked_raises_unless_the_job_succeeded() -> None:
    """The error names the Job, and its record, so that a new attempt runs it anew."""
    JobResult("a", succeeded=True).check()
    with pytest.raises(JobFailed, match="no luck") as raised:
        JobResult("a", succeeded=False, message="no luck", seq=3).check()
    assert (raised.value.job, raised.value.seq) == ("a", 3)


def test_a_recorded_refusal_raises_what_it_was() -> None:
    """The same on every replay."""
    call = job_call({"spec": {}}, "migrate")
    error = RecordedError(type="kontinue.errors.NotFound", message="gone", types=["kontinue.errors.NotFound"])
    record = Record(id="1", kind=RecordKind.JOB, name="migrate", digest="", seq=2, at_ms=0, error=error)
    failure = call.request.failure(record)
    assert isinstance(failure, JobFailed)
    assert failure.is_a(NotFound)
    assert (failure.job, failure.message, failure.seq) == ("migrate", "gone", 2)
