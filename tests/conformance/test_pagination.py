"""Lists in pages: limit, continue, what remains, and tokens that are none."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from api import MERGE_PATCH, Api, execution

EXECUTIONS = "kontinue.cloud/v1alpha1/executions"


async def _create(api: Api, names: str) -> None:
    for index, name in enumerate(names):
        body = execution(name, metadata={"labels": {"odd": str(index % 2)}})
        status, created = await api.send("POST", api.path(EXECUTIONS), body)
        assert status == 201, created


async def _page(api: Api, query: str, **where: Any) -> Any:
    status, body = await api.send("GET", f"{api.path(EXECUTIONS, **where)}?{query}")
    assert status == 200, body
    return body


def _names(*pages: Any) -> list[str]:
    return ["".join(item["metadata"]["name"] for item in page["items"]) for page in pages]


async def test_pages_show_one_revision_whatever_is_written_between_them(api: Api) -> None:
    """All pages of a list are of the first page's state and revision."""
    await _create(api, "abcde")
    first = await _page(api, "limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api.send("DELETE", api.path(EXECUTIONS, "c"))
    await api.send("POST", api.path(EXECUTIONS), execution("bb"))
    status = {"status": {"phase": "Executing"}}
    assert (await api.send("PATCH", api.path(EXECUTIONS, "d", "status"), status, content_type=MERGE_PATCH))[0] == 200
    second = await _page(api, f"limit=2&continue={first['metadata']['continue']}")
    third = await _page(api, f"limit=2&continue={second['metadata']['continue']}")
    assert _names(first, second, third) == ["ab", "cd", "e"]
    assert len({page["metadata"]["resourceVersion"] for page in (first, second, third)}) == 1
    assert "status" not in second["items"][1]
    assert second["metadata"]["remainingItemCount"] == 1
    assert not third["metadata"].get("continue")
    assert "remainingItemCount" not in third["metadata"]
    assert _names(await _page(api, "")) == ["abbbde"]


async def test_a_list_that_fits_into_its_limit_has_one_page(api: Api) -> None:
    """No token and nothing that remains; no limit, zero and a negative one mean all."""
    await _create(api, "abc")
    for query in ("limit=3", "limit=9", "limit=0", "limit=-1", "", "limit=1&fieldSelector=metadata.name%3Db"):
        page = await _page(api, query)
        assert not page["metadata"].get("continue"), query
        assert "remainingItemCount" not in page["metadata"], query


async def test_pages_of_a_selection_do_not_tell_what_remains(api: Api) -> None:
    """A page holds as many selected objects as asked for; a token may lead to an empty last page."""
    await _create(api, "abcdefg")
    for selector in ("labelSelector=odd%3D0", f"fieldSelector={quote('metadata.name!=a')}"):
        whole = "".join(_names(await _page(api, selector)))
        found, query = "", f"limit=2&{selector}"
        for _ in range(8):
            page = await _page(api, query)
            assert "remainingItemCount" not in page["metadata"]
            token = page["metadata"].get("continue")
            if token:
                assert len(page["items"]) == 2
            found += "".join(_names(page))
            if not token:
                break
            query = f"limit=2&{selector}&continue={token}"
        assert found == whole


async def test_a_token_goes_on_with_another_limit_or_selector(api: Api) -> None:
    """The token says where and when, the query what and how much."""
    await _create(api, "abcdef")
    token = (await _page(api, "limit=2"))["metadata"]["continue"]
    assert _names(await _page(api, f"continue={token}")) == ["cdef"]
    assert _names(await _page(api, f"continue={token}&resourceVersion=0")) == ["cdef"]
    assert _names(await _page(api, f"continue={token}&limit=3")) == ["cde"]
    assert _names(await _page(api, f"continue={token}&labelSelector=odd%3D0")) == ["ce"]
    assert _names(await _page(api, f"continue={token}&fieldSelector=metadata.name%3De")) == ["e"]


async def test_pages_go_on_across_namespaces(api: Api) -> None:
    """In order of namespace and name, none twice, none left out."""
    await _create(api, "abc")
    seen, query = [], "limit=2"
    while query:
        page = await _page(api, query, namespace="")
        seen += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page["items"]]
        token = page["metadata"].get("continue")
        query = f"limit=2&continue={token}" if token else ""
    assert len(seen) == len(set(seen))
    assert [name for namespace, name in seen if namespace == api.namespace] == ["a", "b", "c"]


async def test_a_list_that_need_not_be_the_latest_has_no_pages(api: Api) -> None:
    """With resourceVersion 0 the limit is passed over, as by kube-apiserver's cache."""
    await _create(api, "abc")
    now = (await _page(api, ""))["metadata"]["resourceVersion"]
    await _page(api, f"resourceVersion={now}&resourceVersionMatch=NotOlderThan")  # until the cache has come that far
    for query in ("limit=1&resourceVersion=0", "limit=1&resourceVersion=0&resourceVersionMatch=NotOlderThan"):
        page = await _page(api, query)
        assert _names(page) == ["abc"]
        assert not page["metadata"].get("continue")


def _token(**fields: Any) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": -1, "start": "b\0", **fields}
    return base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")


async def test_a_token_without_a_revision_goes_on_with_what_there_is_now(api: Api) -> None:
    """The form that is given when a page's revision has been forgotten."""
    await _create(api, "abcd")
    assert _names(await _page(api, f"continue={_token()}")) == ["cd"]
    assert _names(await _page(api, f"continue={_token(start='/b' + chr(0))}")) == ["cd"]
    assert _names(await _page(api, f"continue={_token(start='zzz')}")) == [""]
    page = await _page(api, f"limit=1&continue={_token()}")
    assert (_names(page), page["metadata"]["remainingItemCount"]) == (["c"], 1)


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "abc!",
        "%20",
        base64.urlsafe_b64encode(b"[1]").decode().rstrip("="),
        base64.urlsafe_b64encode(b"{}").decode().rstrip("="),
        _token(v="meta.k8s.io/v2"),
        _token(rv=0),
        _token(rv="5"),
        _token(rv=10**30),
        _token(start=""),
        _token(start="../../secrets/x"),
        _token(start="b/"),
        _token(start="a//b"),
    ],
)
async def test_a_token_that_is_none_is_a_bad_request(api: Api, token: str) -> None:
    """A list must not begin anew, nor leave its kind, because a token was spoiled."""
    status, body = await api.send("GET", f"{api.path(EXECUTIONS)}?limit=1&continue={token}")
    assert (status, body["reason"]) == (400, "BadRequest"), body
    assert "continue key is not valid" in body["message"]


async def test_a_token_and_a_revision_exclude_each_other(api: Api) -> None:
    """The token has its own."""
    await _create(api, "ab")
    token = (await _page(api, "limit=1"))["metadata"]["continue"]
    path = f"{api.path(EXECUTIONS)}?continue={token}"
    assert (await api.send("GET", f"{path}&resourceVersion=1"))[0] == 400
    status, body = await api.send("GET", f"{path}&resourceVersion=1&resourceVersionMatch=Exact")
    assert (status, body["reason"]) == (422, "Invalid")


@pytest.mark.parametrize("limit", ["abc", "1e3", "1.5", str(2**63), "0x10"])
async def test_a_limit_that_is_no_number_is_a_bad_request(api: Api, limit: str) -> None:
    """And not a list without one."""
    assert (await api.send("GET", f"{api.path(EXECUTIONS)}?limit={limit}"))[0] == 400
