"""Histories in files: as kubectl writes them, with the pages of long ones."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
import yaml

from kontinue import archives
from kontinue.api.v1alpha1 import Execution
from kontinue.naming import memo_page_name
from kontinue_engine.replaying.histories import HistoryError, read_histories

RECORD = {"kind": "step", "name": "work", "digest": "d", "atMs": 5}


def execution(name: str = "one", **status: Any) -> dict[str, Any]:
    created = "2026-01-02T03:04:05Z"
    metadata = {"name": name, "namespace": "ns", "uid": "u", "creationTimestamp": created}
    spec = {"function": "flow", "arguments": {"version": "1.10", "day": "2026-01-02"}}
    return {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "Execution",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def paged() -> tuple[dict[str, Any], dict[str, Any]]:
    """An Execution with one record in a page and one in its status."""
    digest = hashlib.blake2b(b"anything", digest_size=10).hexdigest()
    page = {
        "apiVersion": "kontinue.cloud/v1alpha1",
        "kind": "MemoPage",
        "metadata": {"name": memo_page_name("one", 0, digest), "namespace": "ns"},
        "spec": {
            "execution": "one",
            "runEpoch": 0,
            "number": 1,
            "memo": {"build": "b", "records": [{"id": "1", "seq": 1, "value": 1, **RECORD}]},
        },
    }
    chain = {"count": 1, "last": digest, "records": 1, "bytes": 10}
    state = {"build": "b", "records": [{"id": "2", "seq": 2, "value": 2, **RECORD}]}
    return execution(state=state, memoPages=chain), page


def in_json(*documents: Any) -> str:
    return msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": documents}).decode()


@pytest.mark.parametrize(
    "text",
    [
        msgspec.json.encode(execution()).decode(),
        in_json(execution()),
        yaml.safe_dump(execution()),
        yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [execution()]}),
        "---\nkind: ConfigMap\n---\n" + yaml.safe_dump(execution()),
        yaml.safe_dump(execution()).replace("'", ""),  # nobody quotes times by hand
    ],
    ids=["json", "json list", "yaml", "yaml list", "several documents", "unquoted"],
)
def test_executions_are_read_as_kubectl_writes_them(text: str) -> None:
    """Alone, in a list, among others; times and dates are no other values than they were."""
    (history,) = read_histories([("file", text)])
    assert (history.execution.metadata.name, history.problem) == ("one", "")
    assert msgspec.json.decode(history.execution.spec.arguments)["day"] == "2026-01-02"


def test_numbers_of_kubectls_yaml_stay_numbers() -> None:
    """It writes large ones without a point."""
    text = yaml.safe_dump(execution()).replace(
        "version: '1.10'", "version: 1e+06\n    low: 5e-07\n    a: 12e4567\n    b: 8e+4f"
    )
    (history,) = read_histories([("file", text)])
    arguments = msgspec.json.decode(history.execution.spec.arguments)
    assert (arguments["version"], arguments["low"]) == (1_000_000, 5e-7)
    assert (arguments["a"], arguments["b"]) == ("12e4567", "8e+4f"), "digests stay texts"


@pytest.mark.parametrize("is_one_file", [True, False])
def test_pages_are_put_where_they_belong(*, is_one_file: bool) -> None:
    """Whichever file they stand in."""
    whole, page = paged()
    texts = [("all", in_json(whole, page))] if is_one_file else [("one", in_json(whole)), ("two", in_json(page))]
    (history,) = read_histories(texts)
    raw = history.execution.status.state
    assert raw is not msgspec.UNSET
    state = msgspec.json.decode(raw)
    assert ([record["id"] for record in state["records"]], history.problem) == (["1", "2"], "")


def test_a_history_without_its_pages_says_how_to_get_them() -> None:
    """It is not replayed from the middle."""
    whole, page = paged()
    (history,) = read_histories([("file", in_json(whole))])
    assert history.problem.startswith(f"MemoPage {page['metadata']['name']}, number 1 of 1, is missing")
    assert "kubectl get executions,memopages" in history.problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "file: neither JSON nor YAML"),
        ("kind: ConfigMap", "file: no Execution in there"),
        ("", "file: no Execution in there"),
        ("just text", "file: no Execution in there"),
        (in_json({**execution(), "spec": {"function": 5}}), "file: Execution one does not decode"),
    ],
)
def test_what_is_no_history_is_an_error_that_names_the_file(text: str, message: str) -> None:
    """Nothing is checked silently."""
    with pytest.raises(HistoryError, match=message):
        read_histories([("file", text)])


def test_archives_are_unpacked_with_their_pages() -> None:
    """As they are restored for whoever reads them; a part that is missing is an error."""
    whole, page = paged()
    whole["metadata"]["resourceVersion"] = "7"
    packer = archives.Packer()
    for document in (whole, page):
        packer.add(msgspec.json.encode(document))
    root = msgspec.json.decode(msgspec.json.encode(whole), type=Execution)
    (part,) = archives.build_parts(root, packer.finish(), below=(), group="g", delete_at=None)
    part = msgspec.structs.replace(part, metadata=msgspec.structs.replace(part.metadata, namespace="ns"))
    histories = read_histories([("file", in_json(part, execution("two"), "not an object"))])
    assert [one.execution.metadata.name for one in histories] == ["two", "one"]
    raw = histories[1].execution.status.state
    assert raw is not msgspec.UNSET
    assert len(msgspec.json.decode(raw)["records"]) == 2
    broken = msgspec.structs.replace(part, spec=msgspec.structs.replace(part.spec, parts=2))
    with pytest.raises(HistoryError, match="file: part 2 of 2 of the archive of one is missing"):
        read_histories([("file", in_json(broken))])
