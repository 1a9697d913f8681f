"""Who am I and what may I do: questions that ``kubectl auth`` and controllers ask; asked as an administrator."""

from __future__ import annotations

from typing import Any

import pytest

from api import Api

AUTHENTICATION = "/apis/authentication.k8s.io/v1"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"
PODS = {"verb": "get", "resource": "pods"}


async def test_a_user_learns_who_they_are(api: Api) -> None:
    """Name and groups, the administrators' among them; nothing is stored."""
    status, review = await api.send("POST", f"{AUTHENTICATION}/selfsubjectreviews", {})
    assert (status, review["kind"], review["apiVersion"]) == (201, "SelfSubjectReview", "authentication.k8s.io/v1")
    assert review["status"]["userInfo"]["username"]
    assert set(review["status"]["userInfo"]["groups"]) == {"system:masters", "system:authenticated"}
    assert review["metadata"]["creationTimestamp"]


@pytest.mark.parametrize(
    "spec", [{"resourceAttributes": PODS}, {"nonResourceAttributes": {"verb": "get", "path": "/x"}}]
)
async def test_an_administrator_may_do_everything(api: Api, spec: dict[str, Any]) -> None:
    """With resources and with paths; the question comes back with the answer."""
    status, review = await api.send("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", {"spec": spec})
    assert (status, review["spec"], review["status"]["allowed"]) == (201, spec, True)


async def test_rules_of_an_administrator_name_everything(api: Api) -> None:
    """What ``kubectl auth can-i --list`` prints."""
    path = f"{AUTHORIZATION}/selfsubjectrulesreviews"
    status, review = await api.send("POST", path, {"spec": {"namespace": "default"}})
    assert (status, review["status"]["incomplete"]) == (201, False)
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert everything in review["status"]["resourceRules"]
    assert {"verbs": ["*"], "nonResourceURLs": ["*"]} in review["status"]["nonResourceRules"]
    assert (await api.send("POST", path, {"spec": {}}))[0] == 400


async def test_others_may_nothing(api: Api) -> None:
    """A user whom nobody has given a role; an administrator by group may."""
    path = f"{AUTHORIZATION}/subjectaccessreviews"
    status, review = await api.send("POST", path, {"spec": {"user": "joe", "resourceAttributes": PODS}})
    assert (status, review["status"]["allowed"]) == (201, False)
    spec = {"user": "joe", "groups": ["system:masters"], "resourceAttributes": PODS}
    status, review = await api.send("POST", path, {"spec": spec})
    assert (status, review["status"]["allowed"]) == (201, True)
    path = api.path("authorization.k8s.io/v1/localsubjectaccessreviews")
    spec = {"user": "joe", "resourceAttributes": {**PODS, "namespace": api.namespace}}
    status, review = await api.send("POST", path, {"metadata": {"namespace": api.namespace}, "spec": spec})
    assert (status, review["status"]["allowed"]) == (201, False)


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("selfsubjectaccessreviews", {}, "spec.resourceAttributes"),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": {}, "nonResourceAttributes": {}},
            "spec.nonResourceAttributes",
        ),
        ("subjectaccessreviews", {"resourceAttributes": PODS}, "spec.user"),
    ],
)
async def test_a_question_without_sense_is_refused(api: Api, kind: str, spec: dict[str, Any], field: str) -> None:
    """The cause names what is missing or too much."""
    status, refused = await api.send("POST", f"{AUTHORIZATION}/{kind}", {"spec": spec})
    assert (status, refused["reason"]) == (422, "Invalid")
    assert field in [cause["field"] for cause in refused["details"]["causes"]]


async def test_a_token_is_known_or_not(api: Api) -> None:
    """The one that the client itself has belongs to a user; any other is an error in the answer, not of the request."""
    path = f"{AUTHENTICATION}/tokenreviews"
    status, review = await api.send("POST", path, {"spec": {"token": api.token}})
    assert (status, review["status"]["authenticated"]) == (201, True)
    assert review["status"]["user"]["username"]
    status, review = await api.send("POST", path, {"spec": {"token": "none"}})
    assert (status, review["status"].get("authenticated", False)) == (201, False)
    assert review["status"]["error"]
    assert (await api.send("POST", path, {"spec": {}}))[0] == 400


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_reviews_can_only_be_created(api: Api, method: str) -> None:
    """There is nothing to be read."""
    assert (await api.send(method, f"{AUTHENTICATION}/tokenreviews"))[0] == 405
