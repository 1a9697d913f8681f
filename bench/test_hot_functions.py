"""``make microbench``: what one call costs of the pure functions that every Execution passes through.

Each also says what the call must give, so that ``make test``, which runs them once and measures nothing, keeps them
true. Whole Executions are measured by ``make bench``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import yaml
from pytest_benchmark.fixture import BenchmarkFixture

from kontinue.api.v1alpha1 import Execution, ExecutionOwner, ExecutionSpec, ExecutionStatus, Phase
from kontinue.codec import digest
from kontinue_engine.apiserver.objects import patches
from kontinue_engine.apiserver.schemas.schema import CompiledSchema
from kontinue_engine.lifecycle.decide import decide
from kontinue_engine.lifecycle.memo import MemoBytes
from kontinue_engine.lifecycle.observed import Activation, News, Observed, Worker
from kontinue_engine.wire import frames, framing

NOW_MS = 1_700_000_000_000
EXECUTION: dict[str, Any] = {
    "apiVersion": "kontinue.cloud/v1alpha1",
    "kind": "Execution",
    "metadata": {"name": "trivial-1", "namespace": "default", "resourceVersion": "7"},
    "spec": {"function": "trivial", "arguments": {"n": 1}},
    "status": {"phase": "Completed", "result": 1, "startedAt": "2026-01-01T00:00:00Z"},
}


def test_decide_the_end_of_an_execution(benchmark: BenchmarkFixture) -> None:
    """The function has returned: one terminal write."""
    worker = Worker(shard="w-0", incarnation="me", build="b1")
    observed = Observed(
        spec=ExecutionSpec(function="trivial"),
        status=ExecutionStatus(
            phase=Phase.EXECUTING,
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
            owner=ExecutionOwner(shard="w-0", incarnation="me", epoch=3),
        ),
        memo=MemoBytes(),
        created_at_ms=NOW_MS - 1000,
        activation=Activation(number=1, running_since_ms=NOW_MS - 10),
        news=News(outcome=frames.Completed(activation=1, result=b"1")),
    )
    plan = benchmark(decide, observed, worker, NOW_MS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED


def test_a_frame_over_a_pipe(benchmark: BenchmarkFixture) -> None:
    """Encoded on one side, decoded on the other."""
    frame = frames.Completed(activation=1, result=b"x" * 200)
    decoder: framing.FrameDecoder[frames.RunnerEvent] = framing.FrameDecoder(frames.RunnerEvent)

    def cross() -> list[frames.RunnerEvent]:
        return list(decoder.feed(bytes(framing.encode(frame))))

    assert benchmark(cross) == [frame]


def test_the_local_server_judges_a_status(benchmark: BenchmarkFixture) -> None:
    """Pruned, defaulted and validated by our CRD, transition rules included."""
    crd = yaml.safe_load((Path(__file__).parents[1] / "crds" / "execution.yaml").read_text())
    schema = CompiledSchema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    old = {**EXECUTION, "status": {"phase": "Executing"}}

    def judge() -> list[Any]:
        schema.prune(EXECUTION)
        schema.default(EXECUTION)
        return schema.validate(EXECUTION, old)

    assert benchmark(judge) == []


def test_a_client_cancels_by_json_patch(benchmark: BenchmarkFixture) -> None:
    """Phase tested and replaced."""
    operations = [
        {"op": "test", "path": "/status/phase", "value": "Completed"},
        {"op": "replace", "path": "/status/phase", "value": "Canceled"},
    ]
    assert benchmark(patches.apply_json_patch, EXECUTION, operations)["status"]["phase"] == "Canceled"


def test_an_execution_is_decoded(benchmark: BenchmarkFixture) -> None:
    """From the bytes of a watch event to the typed object."""
    decoder = msgspec.json.Decoder(Execution)
    assert benchmark(decoder.decode, orjson.dumps(EXECUTION)).metadata.name == "trivial-1"


def test_arguments_are_digested(benchmark: BenchmarkFixture) -> None:
    """What replay compares."""
    assert benchmark(digest, b'{"n":1}') == digest(b'{"n":1}')
