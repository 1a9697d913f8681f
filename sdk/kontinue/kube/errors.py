"""Maps what the API server answers to ``kontinue.errors``: the only place that reads a Status body.

Called by ``kontinue.kube.http`` for responses and by ``kontinue.kube.watch`` for ERROR events. Pure.
``is_worth_retrying`` is narrower than ``Unavailable``: what an answer of 501 or 505 says will not change. A plain 500
does pass: kube-apiserver answers so to all that it has no better word for, such as a change of etcd's leader or a
webhook that restarts.
"""

from __future__ import annotations

import re
import ssl
from typing import Final

import msgspec

from kontinue import errors
from kontinue.api import labels
from kontinue.api.konductor import group
from kontinue.api.rights import Right, roles_with

TRANSIENT_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
TOO_LARGE_MESSAGES: Final = ("request is too large", "message larger than max")
"""etcd refuses objects past 1.5 MiB, its client those past 2 MiB: a 500 that no retry will cure."""
NOT_SENT: Final = "NotSent"
"""Reason of an ``Unavailable`` whose request never left this process."""
CLOSED: Final = "Closed"
"""The same, because the client was closed: whoever asks again is not answered either."""
NOT_TRUSTED: Final = "NotTrusted"
"""The same, because the server's certificate is not one that is trusted: asking again would not help."""

_BY_STATUS: Final[dict[int, type[errors.ApiError]]] = {
    400: errors.Invalid,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Invalid,
    406: errors.Invalid,
    409: errors.Conflict,
    410: errors.Gone,
    413: errors.TooLarge,
    415: errors.Invalid,
    422: errors.Invalid,
    429: errors.Unavailable,
}
_MAX_TEXT: Final = 500
"""Bytes shown of an answer that is not a Status. Judgement."""
_MAX_PAGE: Final = 160
"""The same of HTML, whose beginning has the title and little else that helps. Judgement."""
_PAGE: Final = " (a page of HTML: this is no Kubernetes API server, or something stands between)"
_BARRED: Final = frozenset({401, 403})
"""A page with one of these is a proxy's that wants a login: the next try would get it, too."""
_SERVED_AT: Final = re.compile(r" /apis/(?P<group>[^/]+)/[^/]+/(?:namespaces/[^/]+/)?(?P<plural>[a-z]+)")
"""Where in a request stands of which kind it is."""
_DENIED: Final = re.compile(
    r"cannot (?P<verb>\w+) resource \"(?P<resource>[^\"]+)\" in API group \"(?P<group>[^\"]*)\""
    r"(?: in the namespace \"(?P<namespace>[^\"]+)\")?"
)
"""How Kubernetes' authorizers say what somebody may not do."""


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    """What of ``details`` we read."""

    retry_after_seconds: float | None = None


class Status(msgspec.Struct, frozen=True):
    """``kind: Status`` of ``v1``: the body of every error."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


_WRONG_CERTIFICATE: Final = (
    ". Its certificate is not signed by what the kubeconfig trusts (certificate-authority-data), or is that of another "
    "host: the address or the authority is wrong, or something stands between"
)
_OF_CHART: Final = (
    ". The chart kontinue-coordinator makes Roles that grant it, too: one of its own, and -user for those who count"
)
_WRONG_CREDENTIALS: Final = (
    ": the API server does not accept these credentials. Renew the token or certificate of the kubeconfig's user "
    "(`kubectl auth whoami` shows who you are)"
)

_decoder: Final = msgspec.json.Decoder(Status)
_decode_any: Final = msgspec.json.Decoder(msgspec.Raw).decode


def from_response(status: int, body: bytes, *, retry_after: str = "", request: str = "") -> errors.ApiError:
    """Return the error for an HTTP answer of 400 and above.

    Args:
        status: the HTTP status code.
        body: the body, a Status or anything else (a proxy's page).
        retry_after: the Retry-After header; only its form in seconds is understood.
        request: method and path, named when the server's message does not say what went wrong.
    """
    try:
        answer = _decoder.decode(body)
    except msgspec.MsgspecError:
        message = f"{request}: HTTP {status}: {_excerpt(body)}".lstrip(": ")
        if _is_page(body):
            message += _PAGE
            if status < 500 and status not in _BARRED:
                return errors.Unavailable(message)
        if _is_broken(status, body):
            return errors.Unavailable(f"{message} (the answer is cut or spoilt)")
        answer = Status(message=message)
    try:
        wait_s = float(retry_after) if retry_after else None
    except ValueError:
        wait_s = None
    return from_status(answer, code=status, retry_after_s=wait_s, request=request)


def from_status(
    answer: Status, *, code: int = 0, retry_after_s: float | None = None, request: str = ""
) -> errors.ApiError:
    """Return the error for a Status, as it stands in a response or in a watch's ERROR event."""
    code = code or answer.code
    if retry_after_s is None and answer.details is not None:
        retry_after_s = answer.details.retry_after_seconds
    message = answer.message or f"HTTP {code} {answer.reason}".strip()
    class_ = _error_class(code, answer)
    remedy = _remedy(code, answer, message, request)
    if class_ is errors.Unavailable and request and request not in message:
        remedy = f" ({request})"
    return class_(message, status=code, reason=answer.reason, retry_after_s=retry_after_s, remedy=remedy)


def closed() -> errors.Unavailable:
    """Return the error for a request of a client that was closed before; it is the program's fault, not the server's.

    Not ``InvalidState``: of a write that was tried before nobody knows whether it was carried out.
    """
    return errors.Unavailable("this client is closed: make another one", reason=CLOSED)


def no_answer(request: str, cause: BaseException, *, sent: bool = True) -> errors.Unavailable:
    """Return the error for a request that got no answer: refused, cut or timed out.

    ``sent`` is False when no connection was made, so that the server cannot have acted.
    """
    detail = str(cause) or type(cause).__name__
    if isinstance(cause.__cause__, ssl.SSLCertVerificationError):
        return errors.Unavailable(f"{request}: {detail}", reason=NOT_TRUSTED, remedy=_WRONG_CERTIFICATE)
    reason = "" if sent else NOT_SENT
    return errors.Unavailable(f"{request}: no answer from the API server: {detail}", reason=reason)


def check_json(request: str, body: bytes) -> None:
    """Tell a server's answer from what a proxy, a login page or a broken line has made of it.

    Args:
        request: method and path.
        body: of a successful answer to a request for JSON.

    Raises:
        Unavailable: it is no whole JSON. What was asked for may have been done.
    """
    try:
        _decode_any(body)
    except msgspec.DecodeError as error:
        raise errors.Unavailable(
            f"{request}: the answer is no JSON, so that it is none of an API server (a proxy's, or cut): {error}: "
            f"{_excerpt(body)}"
        ) from error


def is_worth_retrying(error: errors.ApiError) -> bool:
    """Tell whether the same request may well succeed a moment later."""
    if not isinstance(error, errors.Unavailable) or error.reason in {NOT_TRUSTED, CLOSED}:
        return False
    if error.status == 0 or error.status in TRANSIENT_STATUSES:
        return True
    return error.retry_after_s is not None


def was_not_processed(error: errors.ApiError) -> bool:
    """Tell whether the server surely did not act: then even a create may be repeated.

    Args:
        error: of one try; of several, one before may have been carried out.
    """
    return error.status == 429 or error.reason in {NOT_SENT, CLOSED}


def _is_broken(status: int, body: bytes) -> bool:
    """Tell whether it was a Status: what is left does not say what the server means, and a 409 means two things.

    Text that is none at all is somebody's answer: Kubernetes has no Status for an API that is not installed.
    """
    if status < 400 or status >= 500:
        return False
    return body.lstrip().startswith(b"{") or b"\0" in body or (status == 409 and not body)


def _is_page(body: bytes) -> bool:
    return body.lstrip().startswith(b"<")


def _excerpt(body: bytes) -> str:
    shown = body[: _MAX_PAGE if _is_page(body) else _MAX_TEXT]
    return " ".join(shown.decode("utf-8", "replace").split()) or "no body"


def _remedy(code: int, answer: Status, message: str, request: str) -> str:
    match code:
        case 401:
            return _WRONG_CREDENTIALS
        case 403:
            return _who_may(message)
        case 404 if not answer.reason:  # no Status
            return _not_installed(request)
        case _:
            return ""


def _not_installed(request: str) -> str:
    """Return what to do about a kind of ours that a server does not know, which Kubernetes has no Status for."""
    served = _SERVED_AT.search(request)
    if served is None or served["group"] not in {labels.GROUP, *group.GROUPS}:
        return ""
    command = "kontinue install"
    if served["group"] == group.ORIGINAL_GROUP:
        command += f" --api-group {group.ORIGINAL_GROUP}"
    return f". This server has no {served['plural']} of {served['group']}: `{command}` installs its kinds"


def _who_may(message: str) -> str:
    """Return which of our roles grant what was refused, if Kubernetes' RBAC has refused it."""
    denied = _DENIED.search(message)
    if denied is None:
        return ""
    if not denied["namespace"]:
        return ". The roles of kontinue hold in one namespace: name it"
    roles = roles_with(Right(denied["group"], denied["resource"], denied["verb"]))
    if not roles:
        return ". No role of kontinue grants that"
    *others, last = (role.object_name for role in roles)
    names = f"{', '.join(others)} and {last}" if others else last
    is_or_are = "Role {} grants" if len(roles) == 1 else "Roles {} grant"
    is_primitive, command = denied["group"] in group.GROUPS, "kontinue install"
    if is_primitive and denied["group"] != group.GROUP:
        command += f" --api-group {denied['group']}"
    remedy = f". The {is_or_are.format(names)} it there (`{command}`): bind this user to one by a RoleBinding"
    return remedy + _OF_CHART if is_primitive else remedy


def _error_class(code: int, answer: Status) -> type[errors.ApiError]:
    if code == 409 and answer.reason == "AlreadyExists":
        return errors.AlreadyExists
    if code >= 500:
        is_too_large = any(text in answer.message for text in TOO_LARGE_MESSAGES)
        return errors.TooLarge if is_too_large else errors.Unavailable
    return _BY_STATUS.get(code, errors.ApiError)
