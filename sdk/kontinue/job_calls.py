"""Builds the durable calls of ``ctx.run_job`` and ``ctx.run_pod``, and reads what was recorded of their ends.

The counterpart of ``kontinue.durable_calls`` for objects of Kubernetes that are not ours. Contexts use the builders;
runners hand the manifests to the supervisor, which creates the objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from kontinue import codec
from kontinue.api.v1alpha1 import MAX_ARGUMENTS_BYTES
from kontinue.durable_calls import line_of_caller
from kontinue.errors import InvalidArguments, JobFailed
from kontinue.jobs import JobResult, JobTemplate, PodResult, job_manifest, name_in, pod_manifest
from kontinue.replay.call import Call
from kontinue.replay.records import Record, RecordKind

ResultT = TypeVar("ResultT", JobResult, PodResult)

_RESULTS: Final[dict[RecordKind, msgspec.json.Decoder[Any]]] = {
    RecordKind.JOB: msgspec.json.Decoder(JobResult),
    RecordKind.POD: msgspec.json.Decoder(PodResult),
}


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Create a Job or Pod and wait for its end.

    Attributes:
        kind: ``JOB`` or ``POD``.
        manifest: JSON object.
    """

    kind: RecordKind
    manifest: bytes

    def decode(self, data: bytes) -> Any:
        """Return the JobResult or PodResult."""
        return _RESULTS[self.kind].decode(data)

    def failure(self, record: Record) -> Exception:
        """Return JobFailed: it could not be created, or was deleted."""
        error = record.error
        assert error is not None  # noqa: S101
        return JobFailed(error.message, job=record.name, type=error.type, types=error.types, seq=record.seq)


def job_call(job: JobTemplate | Mapping[str, Any], name: str | None) -> Call:
    """Return the call of a Job.

    Raises:
        DefinitionError: it is neither a template nor a manifest of a Job.
        InvalidArguments: JSON cannot carry the manifest, or it is too large.
    """
    return _call(RecordKind.JOB, job_manifest(job), name, "ctx.run_job")


def pod_call(pod: JobTemplate | Mapping[str, Any], name: str | None) -> Call:
    """Return the call of a Pod. Raises like ``job_call``."""
    return _call(RecordKind.POD, pod_manifest(pod), name, "ctx.run_pod")


def result_of(call: Call, result: ResultT) -> ResultT:
    """Return the result with the number of its record, by which a new attempt knows that it is to be run anew."""
    return dataclasses.replace(result, seq=call.record.seq if call.record is not None else -1)


def _call(kind: RecordKind, manifest: Mapping[str, Any], name: str | None, what: str) -> Call:
    try:
        data = msgspec.json.encode(manifest, order="deterministic")
    except (TypeError, ValueError) as error:
        raise InvalidArguments(f"{what}: JSON cannot carry the manifest: {error}") from error
    if len(data) > MAX_ARGUMENTS_BYTES:
        raise InvalidArguments(
            f"{what}: the manifest is {len(data):,} bytes of JSON, the limit is {MAX_ARGUMENTS_BYTES:,}"
        )
    return Call(
        kind,
        name or name_in(manifest),
        JobRequest(kind, data),
        digest=codec.digest(data),
        line=line_of_caller(),
    )
