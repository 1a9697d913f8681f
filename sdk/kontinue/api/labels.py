"""Names of labels, annotations and API groups: the only place where these strings are written."""

from __future__ import annotations

import hashlib
import re
from typing import Final

GROUP: Final = "kontinue.cloud"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

WORKER_GROUP: Final = "kontinue.cloud/worker-group"
"""Label of whatever belongs to a worker group: Functions, Executions, Leases. Who runs it."""
SHARD: Final = "kontinue.cloud/shard"
"""Label of an Execution in a sharded group: the replica whose it is. Of a shard's Lease: which shard."""
FUNCTION: Final = "kontinue.cloud/function"
"""Label of an Execution, set when it is created: its function, as a label value."""
ROOT: Final = "kontinue.cloud/root"
"""Label of a child Execution or Suspension: the Execution at the top of its tree. A root has none."""
PARENT: Final = "kontinue.cloud/parent"
"""Label of a child Execution or Suspension: the Execution that has started it, or waits for it."""
PARENT_GROUP: Final = "kontinue.cloud/parent-group"
"""Label of a child Execution outside of its parent's shard or group, of a Suspension, Job and Pod: the worker group of
the Execution that waits for it. Workers watch by it."""
SCHEDULE: Final = "kontinue.cloud/schedule"
"""Label of an Execution that a schedule has started: name of the ScheduledExecution."""
OCCURRENCE: Final = "kontinue.cloud/occurrence"
"""Annotation of an Execution that a schedule has started: the time that it was due, RFC 3339."""

COORDINATOR: Final = "kontinue.cloud/coordinator"
"""Label of the Lease of a coordinator: API group of what it looks after. It has no worker group."""
LOOKS_AFTER: Final = "kontinue.cloud/looks-after"
"""Annotation of that Lease: the namespace that its holder looks after, or ``ALL_NAMESPACES``. Those of earlier
versions do not say."""
ALL_NAMESPACES: Final = "*"
"""No namespace has that name."""
HIDDEN: Final = "kontinue.cloud/hidden"
"""Annotation of a Function that lists leave out by default."""
STEP: Final = "kontinue.cloud/step"
"""Annotation of a child Execution, Suspension, Job or Pod: the step id of the call in its parent."""
ARGUMENTS_DIGEST: Final = "kontinue.cloud/arguments-digest"
"""Annotation of a child Execution: digest of the arguments it was created with; of a Job or Pod: of its manifest."""
PARENT_ATTEMPT: Final = "kontinue.cloud/parent-attempt"
"""Annotation of a child Execution: the attempt of its parent that it last ran for, and the retries that this one asked
of it, as ``2.1``; absent means the first, which asked for none. Of a Suspension: the attempt that it is for."""
DISPLAY_NAME: Final = "kontinue.cloud/display-name"
"""Annotation of a Job or Pod: what the code calls it; its own name is made by us."""
RUN_EPOCH: Final = "kontinue.cloud/run-epoch"
"""Annotation of a child Execution: ``status.runEpoch`` of its parent when it was created; absent means 0."""
RETRIED_ALONE: Final = "kontinue.cloud/retried-alone"
"""Annotation of a child Execution that somebody has retried after its parent had ended: it goes on without it."""
NONCE: Final = "kontinue.cloud/spawn-nonce"
"""Annotation of a spawned Execution: tells a retried POST from somebody else's object."""

INCARNATION: Final = "kontinue.cloud/incarnation"
"""Annotation of a Lease: random id of the process that holds it."""
HOST: Final = "kontinue.cloud/host"
"""Annotation of a Lease: host name of its holder, for people."""
BOOT_ID: Final = "kontinue.cloud/boot-id"
"""Annotation of a Lease: where its holder's pid means something, one boot and one pid namespace."""
PID: Final = "kontinue.cloud/pid"
"""Annotation of a Lease: process id of its holder."""
PROCESS_STARTED: Final = "kontinue.cloud/process-started"
"""Annotation of a Lease: when that process started, so that a reused pid is not taken for it."""
POD_UID: Final = "kontinue.cloud/pod-uid"
"""Annotation of a Lease: uid of its holder's pod. A container that is started again in it takes its Lease back."""
BUILD: Final = "kontinue.cloud/build"
"""Annotation of a Lease: digest of its holder's code."""
DRAINING: Final = "kontinue.cloud/draining"
"""Annotation of a shard's Lease: its holder is about to stop and takes no new work."""
EXPIRED_BY: Final = "kontinue.cloud/expired-by"
"""Annotation of a shard's Lease without a holder: incarnation of the leader that took it from a dead one."""
LOST_BY: Final = "kontinue.cloud/lost-by"
"""Annotation of an Execution that was moved: incarnation of the replica that died with it."""
DEATHS: Final = "kontinue.cloud/deaths"
"""Annotation of an Execution that was moved: how many replicas died that it was assigned to; 0 if none did."""
MUTEX: Final = "kontinue.cloud/mutex"
"""Label of an Execution, set with its shard: the mutex that it needs, by name, or part of the name and a hash.

The Lease of a mutex has the label too, and the full name as an annotation."""
EXECUTION: Final = "kontinue.cloud/execution"
"""Label of a MemoPage: the Execution whose memo it is part of.

Annotation of the Lease of a mutex: name of the Execution that holds it; ``holderIdentity`` is its uid."""
OBSERVED_RETRIES: Final = "kontinue.cloud/observed-retries"
"""Annotation of the Lease of a mutex: ``status.observedRetries`` of its holder when it got it; absent means 0."""
DELETE_AT: Final = "kontinue.cloud/delete-at"
"""Annotation of an ArchivedExecution: when it is deleted, RFC 3339; may be changed. Absent means never."""
ARCHIVE_PART: Final = "kontinue.cloud/archive-part"
"""Annotation of an ArchivedExecution, as ``kontinue.archives.PartKey`` reads it: which archive it is part of."""
ARCHIVED_IN: Final = "kontinue.cloud/archived-in"
"""Annotation of what was read from an archive, and only of that: name of the ArchivedExecution with its first part."""

MAX_DIGITS: Final = 18
"""What fits into 64 bits. Python refuses to read 4301 digits, and an annotation may have more."""
MAX_LABEL_VALUE_LENGTH: Final = 63
"""Kubernetes' limit, https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/."""

_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def number_in(note: str | None) -> int | None:
    """Return the number that an annotation tells; None for anything else: anybody may have written it."""
    if note is None or len(note) > MAX_DIGITS or not (note.isascii() and note.isdecimal()):
        return None
    return int(note)


def label_value(text: str) -> str:
    """Return ``text`` as a label value: as it is if it is one, else what of it can be, cut, and hashed (stable)."""
    if len(text) <= MAX_LABEL_VALUE_LENGTH and _LABEL_VALUE.fullmatch(text):
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    readable = _UNFIT.sub("-", text)[: MAX_LABEL_VALUE_LENGTH - len(digest) - 1].strip("-_.")
    return f"{readable}-{digest}" if readable else digest
