"""Every answer of an API server becomes the error that tells its caller what to do."""

import json

import pytest

from kontinue import errors
from kontinue.kube import errors as kube_errors


def status(code, reason, message="m", **details):
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message, "details": details})


EVERYBODY = "The Roles kontinue-worker, kontinue-client and kontinue-operator grant it"


@pytest.mark.parametrize(
    ("code", "reason", "message", "kind", "retried"),
    [
        (400, "BadRequest", "m", errors.Invalid, False),
        (401, "Unauthorized", "m", errors.Unauthorized, False),
        (403, "Forbidden", "m", errors.Forbidden, False),
        (404, "NotFound", "m", errors.NotFound, False),
        (409, "AlreadyExists", "m", errors.AlreadyExists, False),
        (409, "Conflict", "m", errors.Conflict, False),
        (410, "Expired", "m", errors.Gone, False),
        (413, "RequestEntityTooLarge", "m", errors.TooLarge, False),
        (415, "UnsupportedMediaType", "m", errors.Invalid, False),
        (418, "Teapot", "m", errors.ApiError, False),
        (422, "Invalid", "m", errors.Invalid, False),
        (429, "TooManyRequests", "m", errors.Unavailable, True),
        (500, "InternalError", "m", errors.Unavailable, True),
        (500, "", "etcdserver: leader changed", errors.Unavailable, True),
        (500, "ServerTimeout", "m", errors.Unavailable, True),
        (500, "", "etcdserver: request is too large", errors.TooLarge, False),
        (500, "", "rpc error: trying to send message larger than max (3 vs. 2)", errors.TooLarge, False),
        (501, "NotImplemented", "m", errors.Unavailable, False),
        (502, "", "m", errors.Unavailable, True),
        (503, "ServiceUnavailable", "m", errors.Unavailable, True),
        (504, "Timeout", "m", errors.Unavailable, True),
    ],
)
def test_status_becomes_the_error_of_its_code(code, reason, message, kind, retried):
    """The class follows from code and reason; only answers that pass by themselves are worth a retry."""
    error = kube_errors.from_response(code, status(code, reason, message).encode())
    assert type(error) is kind
    assert (error.status, error.reason, error.message) == (code, reason, message)
    assert kube_errors.is_worth_retrying(error) is retried


def test_answer_that_is_no_status_is_shown_with_its_request():
    """A proxy's page names the request and is cut."""
    error = kube_errors.from_response(502, b"<html>" + b"x" * 9999, request="GET /api")
    assert isinstance(error, errors.Unavailable)
    assert str(error).startswith("GET /api: HTTP 502: <html>x")
    assert len(str(error)) < 600


DENIED = 'executions.kontinue.cloud "x" is forbidden: User "ada" cannot {} resource "{}" in API group "{}"'


@pytest.mark.parametrize(
    ("verb", "resource", "group", "remedy"),
    [
        ("patch", "executions/status", "kontinue.cloud", "The Roles kontinue-worker and kontinue-operator grant it"),
        ("patch", "scheduledexecutions", "kontinue.cloud", "The Role kontinue-operator grants it there"),
        ("get", "pods/log", "", "The Roles kontinue-client and kontinue-operator grant it"),
        ("get", "secrets", "", "No role of kontinue grants that"),
        ("watch", "waitgroups", "konductor.io", f"{EVERYBODY} there"),
        ("update", "waitgroups/status", "konductor.io", EVERYBODY),
        ("patch", "waitgroups", "konductor.io", "No role of kontinue grants that"),
        ("watch", "waitgroups", "sync.konductor.io", f"{EVERYBODY} there"),
    ],
)
def test_what_is_forbidden_names_the_roles_that_grant_it(verb, resource, group, remedy):
    """Besides who may not do what, and where, which the server says; ``message`` is the server's alone."""
    message = DENIED.format(verb, resource, group) + ' in the namespace "shop"'
    error = kube_errors.from_response(403, status(403, "Forbidden", message).encode())
    assert error.message == message
    assert str(error).startswith(f"{message}. {remedy}")


def test_what_is_forbidden_of_konductor_names_the_chart_that_grants_it_too():
    """Whoever has only the coordinator's chart has no role of ``kontinue install``."""
    chart = "The chart kontinue-coordinator makes Roles that grant it"
    for verb, resource, group, is_named in (
        ("list", "waitgroups", "konductor.io", True),
        ("patch", "waitgroups", "konductor.io", False),
        ("list", "executions", "kontinue.cloud", False),
    ):
        message = DENIED.format(verb, resource, group) + ' in the namespace "shop"'
        error = kube_errors.from_response(403, status(403, "Forbidden", message).encode())
        assert (chart in str(error)) is is_named


def test_what_is_forbidden_in_the_originals_group_names_what_grants_rights_there():
    """The roles that are installed without saying so hold in ours alone."""
    message = DENIED.format("list", "waitgroups", "sync.konductor.io") + ' in the namespace "shop"'
    error = kube_errors.from_response(403, status(403, "Forbidden", message).encode())
    assert "`kontinue install --api-group sync.konductor.io`" in str(error)


def test_what_is_forbidden_in_all_namespaces_asks_for_one():
    """Roles hold in a namespace."""
    message = DENIED.format("list", "executions", "kontinue.cloud") + " at the cluster scope"
    error = kube_errors.from_response(403, status(403, "Forbidden", message).encode())
    assert str(error) == f"{message}. The roles of kontinue hold in one namespace: name it"


def test_what_others_forbid_is_left_as_they_say_it():
    """Quotas and webhooks answer 403, too."""
    error = kube_errors.from_response(403, status(403, "Forbidden", "exceeded quota: q").encode())
    assert (str(error), type(error)) == ("exceeded quota: q", errors.Forbidden)


def test_credentials_that_are_not_accepted_are_told_from_missing_rights():
    """With what to do about it."""
    error = kube_errors.from_response(401, status(401, "Unauthorized", "Unauthorized").encode())
    assert str(error).startswith("Unauthorized: the API server does not accept these credentials. Renew the token")


@pytest.mark.parametrize("body", [b"", b"<html>Log in</html>", b'{"kind":"Execution","meta', b'{"a":"\0"}', b"{}{}"])
def test_a_success_that_is_no_json_is_none(body):
    """It may be a proxy's, or cut: worth another try, and shown."""
    with pytest.raises(errors.Unavailable, match="GET /x: the answer is no JSON") as caught:
        kube_errors.check_json("GET /x", body)
    assert kube_errors.is_worth_retrying(caught.value)
    assert not kube_errors.was_not_processed(caught.value)
    kube_errors.check_json("GET /x", b' {"a": [1]}\n')


@pytest.mark.parametrize("body", [b"", b'{"kind":"Status","rea', b'\0\0\0\0d":"Status"}'])
def test_a_refusal_that_cannot_be_read_is_none(body):
    """A 409 may be a conflict, or the success of a create whose answer was lost."""
    error = kube_errors.from_response(409, body, request="POST /x")
    assert type(error) is errors.Unavailable
    assert str(error).startswith("POST /x: HTTP 409: ")
    assert kube_errors.is_worth_retrying(error)
    assert not kube_errors.was_not_processed(error)


PAGE = b"""<!DOCTYPE HTML>
<html lang="en">
    <head><title>Error response</title></head>
</html>
"""


@pytest.mark.parametrize("code", [400, 404, 409, 422])
def test_a_page_of_html_is_no_answer_of_an_api_server(code):
    """Another program listens there, or a proxy answers: one line says so, and nobody takes an object for gone."""
    error = kube_errors.from_response(code, PAGE, request="GET /x")
    assert type(error) is errors.Unavailable
    assert kube_errors.is_worth_retrying(error)
    assert str(error) == (
        f'GET /x: HTTP {code}: <!DOCTYPE HTML> <html lang="en"> <head><title>Error response</title></head> </html> '
        "(a page of HTML: this is no Kubernetes API server, or something stands between)"
    )


def test_a_page_of_html_that_refuses_somebody_is_told_as_one():
    """A proxy may ask for a login: another try would get the same."""
    error = kube_errors.from_response(403, PAGE, request="GET /x")
    assert type(error) is errors.Forbidden
    assert "this is no Kubernetes API server" in str(error)
    assert "\n" not in str(error)


def test_what_a_server_could_not_do_is_told_with_the_request():
    """It says itself only that it is busy."""
    error = kube_errors.from_response(429, status(429, "TooManyRequests", "busy").encode(), request="GET /x")
    assert (str(error), error.message) == ("busy (GET /x)", "busy")


def test_text_that_is_no_status_may_be_kubernetes_own():
    """So it says that nobody serves an API."""
    assert type(kube_errors.from_response(404, b"404 page not found")) is errors.NotFound


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("konductor.io/v1/namespaces/a/mutexes/m", "no mutexes of konductor.io: `kontinue install` installs"),
        ("konductor.io/v1/gates?limit=500", "no gates of konductor.io: `kontinue install` installs"),
        (
            "sync.konductor.io/v1/namespaces/a/onces",
            "no onces of sync.konductor.io: `kontinue install --api-group sync.konductor.io` installs",
        ),
        ("kontinue.cloud/v1alpha1/namespaces/a/executions/e", "no executions of kontinue.cloud: `kontinue install`"),
    ],
)
def test_who_asks_for_a_kind_that_is_not_installed_is_told_how_to(path: str, remedy: str):
    """A bare "page not found" helps nobody. Of what is not ours nothing is said."""
    error = kube_errors.from_response(404, b"404 page not found", request=f"GET /apis/{path}")
    assert remedy in str(error)
    assert "kontinue install" not in str(kube_errors.from_response(404, b"no", request="GET /apis/batch/v1/jobs"))
    named = kube_errors.from_response(404, status(404, "NotFound").encode(), request=f"GET /apis/{path}")
    assert "kontinue install" not in str(named)


def test_retry_after_comes_from_the_header_or_the_details():
    """The header wins; a date in it is ignored."""
    body = status(429, "TooManyRequests", retryAfterSeconds=3).encode()
    assert kube_errors.from_response(429, body).retry_after_s == 3
    assert kube_errors.from_response(429, body, retry_after="7").retry_after_s == 7
    assert kube_errors.from_response(429, b"", retry_after="Fri, 31 Dec 1999 23:59:59 GMT").retry_after_s is None


def test_any_error_of_the_server_with_retry_after_is_worth_retrying():
    """A server that says when to come back means it."""
    assert not kube_errors.is_worth_retrying(kube_errors.from_response(507, b"{}"))
    assert kube_errors.is_worth_retrying(kube_errors.from_response(507, b"{}", retry_after="1"))


def test_no_answer_tells_whether_the_server_may_have_acted():
    """A create may be repeated only if it surely was not processed."""
    refused = kube_errors.no_answer("POST /x", ConnectionRefusedError("refused"), sent=False)
    cut = kube_errors.no_answer("POST /x", TimeoutError())
    assert kube_errors.is_worth_retrying(refused)
    assert kube_errors.is_worth_retrying(cut)
    assert (kube_errors.was_not_processed(refused), kube_errors.was_not_processed(cut)) == (True, False)
    assert "TimeoutError" in str(cut)
