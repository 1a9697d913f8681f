"""Internal. Jobs and Pods of this replica's Executions: who waits for which, and who is told.

``kube.jobs`` knows them as API objects, ``kube.followed_jobs`` which there are; here is who waits. Nothing depends on
an event: whoever asks again after a crash finds the Job by its deterministic name, each new list is compared with what
is waited for, and what there is news of is read. One that was there and is gone was deleted by somebody: it is not
created again, the program is told. Watches begin with the first Job: who starts none, needs no right to see any.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from kontinue import errors
from kontinue.api import labels
from kontinue.api.v1alpha1 import ChildPolicy, Phase
from kontinue.kube.backoff import Backoff
from kontinue_engine.controllers import begun
from kontinue_engine.controllers.entries import AwaitedJob, Entry, Rest
from kontinue_engine.controllers.own_errors import own_error
from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.kube import jobs
from kontinue_engine.kube.followed_jobs import FollowedJob, FollowedJobs, follow_jobs
from kontinue_engine.kube.job_views import JOB, JobView, encode_result, ended_at_ms, job_result, pod_result
from kontinue_engine.lifecycle.observed import Wait
from kontinue_engine.lifecycle.retrying import child_policy_of, policy_of
from kontinue_engine.lifecycle.statuses import next_attempt
from kontinue_engine.telemetry.logs import get_logger
from kontinue_engine.wire import frames

_Key = tuple[str, str]
_log = get_logger(__name__)


class Jobs:
    """Jobs and Pods that the Executions of this replica wait for; ``len`` counts what is under way.

    Args:
        runtime: shared tools.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._followed: dict[str, FollowedJobs] = {}
        self._under_way = 0
        self._being_deleted: Counter[_Key] = Counter()
        self._searched: set[str] = set()  # uids of owners whose Jobs are being looked for, to be deleted

    def __len__(self) -> int:
        return self._under_way

    # Asked for by an activation.

    def request(self, entry: Entry, step: str, command: frames.StartJob) -> None:
        """Create the Job of a step, or find it; its end goes to the activation."""
        if entry.activation is None:
            return
        self._follow(command.kind)
        entry.unwanted_jobs.discard(command.name)
        awaited = AwaitedJob(command, look_first=entry.activation.resumption > 0)
        entry.jobs[step] = awaited
        self._look(entry, step, awaited)

    def give_up(self, entry: Entry, step: str, command: frames.CancelJob) -> None:
        """The program does not wait any more: what it has started is not to go on."""
        entry.jobs.pop(step, None)
        self._discard(entry, command.kind, command.name)

    def discard_all(self, entry: Entry) -> None:
        """The Execution has ended, or begins anew: nothing that it has started may go on."""
        names = {(one.command.kind, one.command.name) for one in entry.jobs.values()}
        names |= {(kind, name) for kind, name in entry.known_jobs if not self._is_known_to_have_ended(kind, name)}
        for kind, followed in self._followed.items():
            names |= {(kind, one.name) for one in followed.unended_of(entry.uid)}
        entry.jobs.clear()
        entry.known_jobs.clear()
        for kind, name in sorted(names):
            self._discard(entry, kind, name)
        if self._may_have_more(entry) and entry.uid not in self._searched:
            self._searched.add(entry.uid)
            self._under_way += 1
            self._runtime.spawn("", self._discard_found(entry), name=f"search-jobs/{entry.name}")

    def _may_have_more(self, entry: Entry) -> bool:
        """Tell whether a replica before may have started some to which the code has not come here when it ended."""
        phase = entry.status.phase
        has_ended_early = phase is not None and phase.is_terminal and phase is not Phase.COMPLETED
        return entry.was_found and has_ended_early and entry.spec.function not in self._runtime.scope.deaf

    async def _discard_found(self, entry: Entry) -> None:
        runtime, backoff = self._runtime, Backoff()
        selector = f"{labels.PARENT}={labels.label_value(entry.name)}"
        try:
            while True:
                try:
                    found = await jobs.list_unended(
                        runtime.transport, namespace=runtime.scope.namespace, label_selector=selector
                    )
                except errors.Unauthorized:
                    raise
                except errors.ApiError as error:
                    _log.warning("Jobs not listed yet", **entry.log_fields, error=str(error))
                    await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
                else:
                    break
            for kind, one in found:
                if one.owner_uid == entry.uid:
                    self._discard(entry, kind, one.metadata.name)
        finally:
            self._under_way -= 1
            self._searched.discard(entry.uid)

    def _is_known_to_have_ended(self, kind: str, name: str) -> bool:
        followed = self._followed.get(kind)
        one = None if followed is None else followed.get(name)
        return one is not None and one.has_ended

    def _discard(self, entry: Entry, kind: str, name: str) -> None:
        if name not in entry.unwanted_jobs:
            entry.unwanted_jobs.add(name)
            self._delete(entry, kind, name)

    def _delete(self, entry: Entry, kind: str, name: str) -> None:
        self._under_way += 1
        self._being_deleted[kind, name] += 1
        self._runtime.spawn("", self._repeat_delete(entry.uid, kind, name), name=f"delete-{kind.lower()}/{name}")

    async def _repeat_delete(self, owner_uid: str, kind: str, name: str) -> None:
        runtime, backoff = self._runtime, Backoff()
        try:
            while True:
                try:
                    await jobs.delete_unended(
                        runtime.transport,
                        namespace=runtime.scope.namespace,
                        kind=kind,
                        name=name,
                        owner_uid=owner_uid,
                    )
                except jobs.JobUnusableError as error:
                    _log.error("not deleted", kind=kind, name=name, error=str(error))
                    return
                except errors.Unauthorized:
                    raise
                except errors.ApiError as error:
                    _log.warning("not deleted yet", kind=kind, name=name, error=str(error))
                    await asyncio.sleep(backoff.next_s(at_least_s=error.retry_after_s))
                else:
                    return
        finally:
            self._under_way -= 1
            self._being_deleted -= Counter([(kind, name)])

    # What happens to them.

    def _follow(self, kind: str) -> None:
        if kind in self._followed:
            return
        runtime = self._runtime
        store = self._followed[kind] = FollowedJobs(kind, on_news=self._on_news, on_listed=self._on_listed)
        informer = follow_jobs(
            runtime.transport,
            jobs.RESOURCES[kind],
            namespace=runtime.scope.namespace,
            group=runtime.scope.group,
            store=store,
        )
        runtime.spawn("", informer.run(), name=f"{kind}s")

    def _on_news(self, kind: str, one: FollowedJob) -> None:
        entry = self._runtime.entries.get(one.owner_uid)
        if entry is None:
            return
        self._wake(entry)
        for step, awaited in entry.jobs.items():
            if (awaited.command.kind, awaited.command.name) == (kind, one.name):
                self._look(entry, step, awaited)

    def _on_listed(self, kind: str) -> None:
        """Events may have been missed: look after all that is waited for."""
        store = self._followed[kind]
        for entry in self._runtime.entries:
            if entry.is_folded:
                continue  # it waits for none
            for step, awaited in entry.jobs.items():
                if awaited.command.kind == kind and awaited.is_other(store.get(awaited.command.name)):
                    self._look(entry, step, awaited)
            names = [item.name for item in entry.status.waiting_for if item.kind == kind]
            if any((one := store.get(name)) is None or one.has_ended for name in names):
                self._wake(entry)

    def _wake(self, entry: Entry) -> None:
        """Have one that waits without an activation look for itself."""
        if entry.rest is Rest.DORMANT or entry.is_losing:
            entry.rest = Rest.WOKEN
            self._runtime.queue.add(entry.uid)

    def _look(self, entry: Entry, step: str, awaited: AwaitedJob) -> None:
        awaited.has_news = True
        if not awaited.is_looked_at:
            awaited.is_looked_at = True
            self._runtime.spawn(entry.uid, self._keep_looking(entry, step, awaited), name=f"job/{awaited.command.name}")

    async def _keep_looking(self, entry: Entry, step: str, awaited: AwaitedJob) -> None:
        """Create it or read it, and again until nothing has been heard of it meanwhile."""
        backoff = Backoff()
        self._under_way += 1
        try:
            while awaited.has_news and entry.jobs.get(step) is awaited:
                awaited.has_news = False
                pause_s: float | None = None
                try:
                    is_settled = await self._settle(entry, step, awaited)
                except jobs.JobUnusableError as error:
                    self._refuse(entry, step, awaited, error.kind, str(error))
                    is_settled = True
                except errors.Unauthorized:
                    raise
                except errors.ApiError as error:
                    _log.warning("not looked at", **entry.log_fields, name=awaited.command.name, error=str(error))
                    is_settled, pause_s = False, error.retry_after_s
                if not is_settled:
                    awaited.has_news = True
                    await asyncio.sleep(backoff.next_s(at_least_s=pause_s))
        finally:
            self._under_way -= 1
            awaited.is_looked_at = False
        if awaited.has_news or entry.jobs.get(step) is not awaited:
            self._wake(entry)  # it was evicted meanwhile

    async def _settle(self, entry: Entry, step: str, awaited: AwaitedJob) -> bool:
        """Create it or read it, and tell what there is to tell; return whether that is all for now."""
        runtime, command = self._runtime, awaited.command
        if (command.kind, command.name) in self._being_deleted or entry.uid in self._searched:
            return False  # an earlier attempt has given it up
        attempt = next_attempt(entry.status)
        was_there = entry.known_jobs.get((command.kind, command.name)) == attempt
        was_there = was_there or begun.is_known(entry, step, command.kind, command.name)
        found = await jobs.create_or_find(
            runtime.transport,
            namespace=runtime.scope.namespace,
            kind=command.kind,
            body=self._build(entry, step, command, attempt),
            look_first=awaited.look_first,
            may_create=not was_there,
        )
        if found is None:
            message = f"{command.kind} {command.name} was deleted while {entry.name} waited for it"
            self._refuse(entry, step, awaited, "NotFound", message)
            return True
        if command.name in entry.unwanted_jobs:
            self._delete(entry, command.kind, command.name)  # the first try came before it was there
            return True
        if _is_in_the_way(found, attempt):
            return False
        if self._is_run_anew(entry, found, attempt):
            _log.info("run anew", execution=entry.name, uid=entry.uid, kind=command.kind, name=command.name)
            await jobs.delete(runtime.transport, namespace=runtime.scope.namespace, kind=command.kind, found=found)
            return False
        entry.known_jobs[command.kind, command.name] = attempt
        begun.note(entry, step, command.kind, command.name)
        if found.has_ended:
            await self._deliver(entry, step, awaited, found)
        elif entry.jobs.get(step) is awaited:
            awaited.exists, awaited.held_up_by = True, found.held_up_by
            runtime.queue.add(entry.uid)
        return True

    def _is_run_anew(self, entry: Entry, found: JobView, attempt: int) -> bool:
        """Tell whether a new attempt, like a child that has failed, does not take it as it has ended."""
        if not found.has_ended or found.has_succeeded or jobs.attempt_of(found) >= attempt:
            return False
        policy = policy_of(entry.spec, entry.status, self._runtime.scope.defaults.get(entry.spec.function))
        return child_policy_of(policy) is ChildPolicy.RETRY_FAILED

    def _build(self, entry: Entry, step: str, command: frames.StartJob, attempt: int) -> dict[str, object]:
        owner = jobs.Owner(
            name=entry.name, uid=entry.uid, group=self._runtime.scope.group, root=entry.root, attempt=attempt
        )
        return jobs.build(
            command.manifest, name=command.name, owner=owner, step=step, digest=command.digest, title=command.title
        )

    def _refuse(self, entry: Entry, step: str, awaited: AwaitedJob, kind: str, message: str) -> None:
        if entry.jobs.get(step) is awaited and entry.activation is not None:
            del entry.jobs[step]
            entry.known_jobs.pop((awaited.command.kind, awaited.command.name), None)
            info = own_error(getattr(errors, kind), message)
            self._runtime.send_to(entry, frames.StepRejected(entry.activation.number, step, info))

    async def _deliver(self, entry: Entry, step: str, awaited: AwaitedJob, found: JobView) -> None:
        runtime = self._runtime
        if awaited.command.kind == JOB:
            pods = await jobs.pods_of(runtime.transport, namespace=runtime.scope.namespace, job=found)
            result = encode_result(job_result(found, pods))
        else:
            result = encode_result(pod_result(found))
        if entry.jobs.get(step) is awaited:
            del entry.jobs[step]
            runtime.tell(entry, step, frames.JobEnded(ended_at_ms(found, runtime.clock.now_ms()), result))

    # What is known of them.

    def waits_of(self, entry: Entry) -> Mapping[str, Wait]:
        """Return what the activation waits for here, by step id: those that exist."""
        return {
            step: Wait(
                name=awaited.command.name,
                until_ms=None,
                is_sleep=True,
                kind=awaited.command.kind,
                message=awaited.held_up_by,
            )
            for step, awaited in entry.jobs.items()
            if awaited.exists
        }


def _is_in_the_way(found: JobView, attempt: int) -> bool:
    """Tell whether it is going, because an earlier attempt gave it up: a Pod takes as long as it may clean up."""
    is_going = found.metadata.deletion_timestamp is not None
    return is_going and not found.has_succeeded and jobs.attempt_of(found) < attempt
