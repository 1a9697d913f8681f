"""Names of objects: pure functions from what a user wrote to what Kubernetes accepts.

Every name is deterministic, so that an object created twice collides with itself (and is recognised) instead of
existing twice. Used by the SDK (roots, registration) and by the engine (children, Function objects).
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

MAX_NAME_LENGTH: Final = 63
"""DNS-1123 label: names double as label values, so the shorter of Kubernetes' limits counts."""
_HASH_LENGTH: Final = 10
_MAX_STEP_LENGTH: Final = 20
"""Judgement: leaves at least 31 characters for the parent's name."""

_UNFIT = re.compile(r"[^a-z0-9]+")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def dns_name(text: str) -> str:
    """Return ``text`` as a DNS-1123 label: ``deploy_service`` becomes ``deploy-service``.

    Different texts may have the same form (``a_b`` and ``a-b``); past 63 characters it is cut and hashed.

    Raises:
        ValueError: no letter or digit of the ASCII range is left.
    """
    name = _UNFIT.sub("-", text.lower()).strip("-")
    if not name:
        raise ValueError(f"{text!r} holds no letter or digit that an object name can carry")
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return _join(name, _hash(text))


def is_dns_label(text: str) -> bool:
    """Tell whether ``text`` is a DNS-1123 label: what names a namespace, for example."""
    return len(text) <= MAX_NAME_LENGTH and _LABEL.fullmatch(text) is not None


def is_group_name(text: str) -> bool:
    """Tell whether ``text`` can name a worker group: a DNS-1123 label, so without dots (Lease names need that)."""
    return is_dns_label(text)


def root_name(function: str, nonce: str) -> str:
    """Return the name of a spawned Execution; the client chooses ``nonce`` at random, once per spawn."""
    return _join(dns_name(function), dns_name(nonce))


def child_name(parent_name: str, step_id: str, parent_uid: str, run_epoch: int, generation: int) -> str:
    """Return the name of the child that ``step_id`` creates: readable in front, unique by its hash.

    Two parents, two runs or two generations never share a name; the same call always gives the same one.
    """
    digest = _hash("\0".join((parent_uid, step_id, str(run_epoch), str(generation))))
    step = _UNFIT.sub("-", step_id.lower()).strip("-")[-_MAX_STEP_LENGTH:].strip("-")
    return _join(parent_name, f"{step}-{digest}" if step else digest)


def occurrence_name(schedule: str, minutes: int) -> str:
    """Return the name of the Execution that a ScheduledExecution starts, as Kubernetes names the Jobs of a CronJob.

    Args:
        schedule: name of the ScheduledExecution; one that is cut is hashed, too.
        minutes: since 1970, of the occurrence.
    """
    name = f"{schedule}-{minutes}"
    return name if len(name) <= MAX_NAME_LENGTH else _join(schedule, f"{_hash(schedule)}-{minutes}")


def memo_page_name(execution: str, run_epoch: int, digest: str) -> str:
    """Return the name of a MemoPage: by its digest, a page that is written twice collides with itself."""
    return _join(execution, f"{run_epoch}-{digest}")


def archive_name(execution: str, digest: str, part: int) -> str:
    """Return the name of a part of an archive: by its digest, an archive that is written twice collides with itself."""
    return _join(execution, f"{digest}-{part}")


def _join(head: str, tail: str) -> str:
    room = MAX_NAME_LENGTH - len(tail) - 1
    return f"{head[:room].rstrip('-.')}-{tail}" if room > 0 else tail[:MAX_NAME_LENGTH].rstrip("-")


def _hash(text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=7).digest()
    return base64.b32hexencode(digest).decode().lower()[:_HASH_LENGTH]
