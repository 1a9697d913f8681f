"""One mutex in small worlds where everything goes wrong at random.

The world is an API server with Executions and the Lease of a mutex, a replica that runs what the Lease names in its
late view, and two leaders that do not know of each other, whose watches lag and whose commands are delayed, refused,
lost, or carried out without an answer.
"""

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from kontinue.api import labels
from kontinue.api.meta import Lease, LeaseSpec, ObjectMeta
from kontinue.api.v1alpha1 import ExecutionOwner, ExecutionStatus, Phase
from kontinue_engine.sharding.assignment import Allowance
from kontinue_engine.sharding.fates import STOPPING_S, Fate, judge
from kontinue_engine.sharding.mutexes import Ask, Bring, Contender, Free, Grant, Mutexes
from kontinue_engine.sharding.views import is_grant_of

KEY = "m"
PATIENCE_S = 60.0
HAPPENINGS = {
    "create": 3,
    "cancel": 1,
    "delete": 0.5,
    "start": 4,
    "finish": 3,
    "stop": 2,
    "retry": 1,
    "free": 2,
    "news": 8,
    "time_passes": 3,
    "lead": 0.4,
    "plan": 5,
    "execute_one": 6,
    "answer_one": 6,
    "lose_one": 1,
}
"""What may happen, and how often."""


@dataclass
class Execution:
    uid: str
    created_s: float
    phase: str = "Live"
    is_stopped: bool = False
    has_started: bool = False
    retries: int = 0
    ended_s: float = 0.0

    def contender(self):
        return Contender(
            uid=self.uid,
            name=self.uid,
            version="1",
            mutex=KEY,
            created_s=self.created_s,
            has_started=self.has_started,
            retries=self.retries,
        )


@dataclass
class Leader:
    """Its state machine, how far its watches have come, and its commands with their outcomes."""

    mutexes: Mutexes
    seen_executions: int
    seen_leases: int
    view: dict = field(default_factory=dict)
    last_holder: str = ""
    commands: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)


class World:
    """Every method is one step of somebody."""

    def __init__(self, rng):
        self.rng = rng
        self.now_s = 1000.0
        self.version = 0
        self.executions = {}
        self.lease = None
        self.execution_log = []
        self.lease_log = []
        self.leaders = []
        self.replica_lease = None
        self.replica_seen = 0
        self.running = set()
        self.frees = []
        self.lead()
        self.lead()

    def lead(self):
        """A leader begins anew, knowing what it lists; what the one before had sent may still arrive."""
        leader = Leader(
            Mutexes("", patience_s=PATIENCE_S, allowance=Allowance()), len(self.execution_log), len(self.lease_log)
        )
        live = [one.contender() for one in self.executions.values() if one.phase == "Live"]
        leader.view = {one.uid: one for one in live}
        leader.last_holder = self.lease.spec.holder_identity if self.lease else ""
        leader.mutexes.replace_leases([(KEY, self.lease)] if self.lease else [])
        leader.mutexes.replace_contenders(live)
        if len(self.leaders) < 2:
            self.leaders.append(leader)
        else:
            number = self.rng.randrange(2)
            leader.commands = self.leaders[number].commands  # sent, by somebody who hears no answer any more
            self.leaders[number] = leader

    # Users, and the replica.

    def create(self):
        one = Execution(f"e{len(self.executions):03}", self.now_s // 5)
        self.executions[one.uid] = one
        self._changed(one)

    def cancel(self):
        for one in self._some(lambda one: one.phase == "Live"):
            one.phase, one.ended_s = "Terminal", self.now_s
            one.is_stopped = one.uid not in self.running and self.rng.random() < 0.5
            self._changed(one)

    def delete(self):
        for one in self._some(lambda one: one.phase != "Gone" and one.uid not in self.running):
            one.phase = "Gone"
            self._changed(one)

    def start(self):
        """The replica starts what its view of the Lease names, if it lives; it writes so then, or not yet."""
        known = self.replica_lease
        one = self.executions.get(known.spec.holder_identity) if known else None
        if one is None or one.phase != "Live" or one.is_stopped:
            return
        phase = Phase.EXECUTING if one.has_started else Phase.PENDING
        owner = ExecutionOwner(shard="s", incarnation="i", epoch=1)
        if is_grant_of(known, one.uid, ExecutionStatus(phase=phase, owner=owner, observed_retries=one.retries)):
            self.running.add(one.uid)
            one.has_started = one.has_started or self.rng.random() < 0.5
            self._changed(one)

    def finish(self):
        for one in self._some(lambda one: one.uid in self.running and one.phase == "Live"):
            one.phase, one.is_stopped = "Terminal", True
            self._ended(one)

    def stop(self):
        """Code of something that was canceled has ended, or nobody has ever run it."""
        for one in self._some(lambda one: one.phase == "Terminal" and not one.is_stopped):
            self._stop(one)

    def _stop(self, one):
        one.is_stopped = True
        self._ended(one)

    def retry(self):
        """Somebody has one run again that has ended and stopped."""
        for one in self._some(lambda one: one.phase == "Terminal" and one.is_stopped):
            one.phase, one.is_stopped, one.has_started = "Live", False, False
            one.retries += 1
            self._changed(one)

    def free(self):
        """The replica's wish to delete a Lease arrives, late perhaps."""
        if self.frees:
            known = self.frees.pop(self.rng.randrange(len(self.frees)))
            if known == self.lease:
                self._write_lease(None)

    def _ended(self, one):
        self.running.discard(one.uid)
        self._changed(one)
        known = self.replica_lease
        named = known is not None and known.spec.holder_identity == one.uid
        if named and self.rng.random() < 0.7:
            self.frees.append(known)

    # Time and watches.

    def time_passes(self):
        """A replica that lives stops what has ended, and says so, within ``fates.STOPPING_S``."""
        self.now_s += self.rng.choice([0.1, 1.0, 3.0])
        for one in self.executions.values():
            if one.phase == "Terminal" and not one.is_stopped and self.now_s > one.ended_s + STOPPING_S:
                self._stop(one)

    def news(self):
        if self.replica_seen < len(self.lease_log):
            self.replica_lease = self.lease_log[self.replica_seen][1]
            self.replica_seen += 1
        leader = self.rng.choice(self.leaders)
        if self.rng.random() < 0.5:
            self._show_execution(leader)
        else:
            self._show_lease(leader)

    def _show_execution(self, leader):
        if leader.seen_executions < len(self.execution_log):
            contender, is_live = self.execution_log[leader.seen_executions]
            leader.seen_executions += 1
            if is_live:
                leader.view[contender.uid] = contender
                leader.mutexes.observe(contender)
            else:
                leader.view.pop(contender.uid, None)
                leader.mutexes.forget(contender.uid)

    def _show_lease(self, leader):
        if leader.seen_leases < len(self.lease_log):
            shown, lease = self.lease_log[leader.seen_leases]
            leader.seen_leases += 1
            if lease is None:
                leader.mutexes.forget_lease(KEY, shown)
            else:
                leader.last_holder = lease.spec.holder_identity
                leader.mutexes.observe_lease(KEY, lease)

    # Leaders.

    def plan(self):
        leader = self.rng.choice(self.leaders)
        for command in leader.mutexes.plan(self.now_s):
            assert not isinstance(command, Bring)
            if isinstance(command, Grant):
                turns = {uid: (not one.has_started, one.created_s, uid) for uid, one in leader.view.items()}
                others = [uid for uid in turns if uid != leader.last_holder]
                assert command.to.uid == leader.last_holder or command.to.uid == min(others, key=turns.__getitem__)
            leader.commands.append(command)

    def execute_one(self):
        leader = self.rng.choice(self.leaders)
        if leader.commands:
            command = leader.commands.pop(self.rng.randrange(len(leader.commands)))
            leader.outcomes.append((command, self._execute(command)))

    def answer_one(self):
        leader = self.rng.choice(self.leaders)
        if leader.outcomes:
            command, outcome = leader.outcomes.pop(self.rng.randrange(len(leader.outcomes)))
            match command, outcome:
                case Grant(), Lease():
                    leader.last_holder = outcome.spec.holder_identity
                    leader.mutexes.granted(command, outcome)
                case Free(), True:
                    leader.mutexes.freed(command, KEY)
                case Ask(), Fate():
                    leader.mutexes.asked(command, KEY, outcome, self.now_s)
                case _:
                    leader.mutexes.failed(command, KEY, self.now_s)

    def lose_one(self):
        """An answer is lost: it failed, as far as its leader knows."""
        leader = self.rng.choice(self.leaders)
        if leader.outcomes:
            command, _ = leader.outcomes.pop(self.rng.randrange(len(leader.outcomes)))
            leader.mutexes.failed(command, KEY, self.now_s)

    def _execute(self, command):
        match command:
            case Grant(to=to, lease=known):
                if known != self.lease:
                    return None
                self._write_lease(to.uid, to.retries)
                return self.lease
            case Free(lease=known):
                if known == self.lease:
                    self._write_lease(None)
                    return True
                return None
            case Ask(lease=known):
                one = self.executions[known.spec.holder_identity]
                if one.phase == "Gone":
                    return Fate.UNSURE
                return judge(is_terminal=one.phase != "Live", is_stopped=one.is_stopped, is_owner_gone=False)

    def _write_lease(self, holder, retries=0):
        self.version += 1
        notes = {labels.OBSERVED_RETRIES: str(retries)} if retries else {}
        meta = ObjectMeta(name=KEY, uid=f"l{self.version}", resource_version=str(self.version), annotations=notes)
        shown = Lease(metadata=meta, spec=LeaseSpec(holder_identity=holder or ""))
        self.lease = shown if holder else None
        self.lease_log.append((shown, self.lease))

    def _changed(self, one):
        self.execution_log.append((one.contender(), one.phase == "Live"))

    def _some(self, which):
        found = [one for one in self.executions.values() if which(one)]
        return [self.rng.choice(found)] if found else []

    def check(self):
        assert len(self.running) <= 1, "two hold one mutex"

    def settle(self):
        """One leader is left, and nothing goes wrong any more."""
        self.leaders = self.leaders[:1]
        for _ in range(200 + 20 * len(self.executions)):
            for happening in (*["news"] * 10, "plan", "execute_one", "answer_one", "start", "finish", "stop", "free"):
                getattr(self, happening)()
                self.check()
            self.time_passes()
            if all(one.phase != "Live" for one in self.executions.values()) and self.lease is None:
                return
        raise AssertionError("somebody waits for ever")


@settings(max_examples=250)
@given(seed=st.integers(0, 2**32))
def test_there_is_never_more_than_one_holder_and_everybody_gets_its_turn(seed):
    """Whatever is late, lost or repeated, and however many lead."""
    rng = random.Random(seed)
    world = World(rng)
    weights = [weight * rng.choice([0.1, 1.0, 3.0]) for weight in HAPPENINGS.values()]
    for happening in rng.choices(list(HAPPENINGS), weights, k=600):
        getattr(world, happening)()
        world.check()
    world.settle()
