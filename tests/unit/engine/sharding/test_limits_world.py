"""One function's limit in small worlds where watches lag, writes fail, and leaders follow each other."""

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from kontinue_engine.sharding.fates import STOPPING_S, Fate
from kontinue_engine.sharding.limits import Admissions, Admit, Applicant, Seek

LIMIT = 2
HAPPENINGS = {
    "create": 3,
    "cancel": 1,
    "delete": 0.5,
    "finish": 3,
    "stop": 2,
    "news": 8,
    "time_passes": 3,
    "lead": 0.3,
    "list_placed": 4,
    "list_ended": 4,
    "list_waiting": 4,
    "plan": 5,
    "label_one": 4,
    "answer_one": 4,
}
"""What may happen, and how often."""


@dataclass
class Execution:
    uid: str
    created_s: float
    has_shard: bool = False
    phase: str = "Live"
    is_stopped: bool = False
    ended_s: float = 0.0

    def applicant(self):
        return Applicant(uid=self.uid, name=self.uid, function="f", created_s=self.created_s)


class World:
    """Every method is one step of somebody."""

    def __init__(self, rng):
        self.rng = rng
        self.now_s = 0.0
        self.executions = {}
        self.lead()

    def lead(self):
        """Another leader begins and knows nothing; what the one before had not written is lost."""
        self.admissions = Admissions({"f": LIMIT}, patience_s=60.0)
        self.waiting_log = self.placed_log = None
        self.has_ended = False
        self.admitted, self.seeks = [], []

    def list_placed(self):
        """Its watch begins where the list ends."""
        if self.placed_log is None:
            self.placed_log = []
            self.admissions.replace_holders(self._listed(lambda one: one.phase == "Live" and one.has_shard), self.now_s)

    def list_ended(self):
        """Once those in shards are watched."""
        if self.placed_log is not None and not self.has_ended:
            self.has_ended = True
            ended = self._listed(lambda one: one.has_shard and one.phase == "Ended" and not one.is_stopped)
            self.admissions.hold_ended(ended, self.now_s)

    def list_waiting(self):
        """At any time: another part of the leader does it."""
        if self.waiting_log is None:
            self.waiting_log = []
            self.admissions.replace_waiting(self._listed(lambda one: one.phase == "Live" and not one.has_shard))

    def _listed(self, which):
        return [one.applicant() for one in self.executions.values() if which(one)]

    def create(self):
        one = Execution(f"e{len(self.executions):03}", self.now_s // 5)
        self.executions[one.uid] = one
        self._show(self.waiting_log, one, is_there=True)

    def cancel(self):
        for one in self._some(lambda one: one.phase == "Live"):
            self._end(one, "Ended")

    def delete(self):
        for one in self._some(lambda one: one.phase == "Live" and not one.has_shard):
            one.is_stopped = True
            self._end(one, "Gone")

    def finish(self):
        for one in self._some(lambda one: one.phase == "Live" and one.has_shard):
            one.is_stopped = True
            self._end(one, "Ended")

    def stop(self):
        for one in self._some(lambda one: one.phase == "Ended"):
            one.is_stopped = True

    def _end(self, one, phase):
        one.phase, one.ended_s = phase, self.now_s
        self._show(self.placed_log if one.has_shard else self.waiting_log, one, is_there=False)

    def _show(self, log, one, *, is_there):
        if log is not None:  # otherwise nobody watches yet
            log.append((one.applicant(), is_there))

    def _some(self, which):
        found = [one for one in self.executions.values() if which(one)]
        return [self.rng.choice(found)] if found else []

    def time_passes(self):
        """A replica that lives stops what has ended, and says so, within ``fates.STOPPING_S``."""
        self.now_s += self.rng.choice([0.1, 1.0, 3.0])
        for one in self.executions.values():
            one.is_stopped |= one.phase != "Live" and self.now_s > one.ended_s + STOPPING_S

    def news(self):
        if self.rng.random() < 0.5 and self.waiting_log:
            applicant, is_there = self.waiting_log.pop(0)
            if not is_there:
                self.admissions.forget_waiting(applicant.uid)
            elif not self.admissions.slots.has_slot(applicant.uid):
                self.admissions.wait(applicant)
        elif self.placed_log:
            applicant, is_there = self.placed_log.pop(0)
            if is_there:
                self.admissions.hold(applicant)
            else:
                self.admissions.lost(applicant.uid, self.now_s)

    def plan(self):
        for command in self.admissions.plan(self.now_s):
            match command:
                case Admit(uid=uid):
                    self.admitted.append(uid)
                case Seek():
                    self.seeks.append(command)

    def label_one(self):
        """Placement writes the label, if the Execution still lives."""
        if self.admitted:
            one = self.executions[self.admitted.pop(self.rng.randrange(len(self.admitted)))]
            if one.phase == "Live":
                one.has_shard = True
                self._show(self.waiting_log, one, is_there=False)
                self._show(self.placed_log, one, is_there=True)

    def answer_one(self):
        if self.seeks:
            seek = self.seeks.pop(self.rng.randrange(len(self.seeks)))
            one = self.executions[seek.uid]
            if self.rng.random() < 0.1:
                self.admissions.failed(seek, self.now_s)
            elif one.phase == "Live":
                self.admissions.sought(seek, Fate.LIVE, self.now_s)
            else:
                is_sure = one.is_stopped and one.phase != "Gone"
                self.admissions.sought(seek, Fate.STOPPED if is_sure else Fate.UNSURE, self.now_s)

    def check(self):
        running = [one.uid for one in self.executions.values() if one.has_shard and not one.is_stopped]
        assert len(running) <= LIMIT, f"{running} run at once"

    def settle(self):
        """Nothing goes wrong any more."""
        lists = ("list_placed", "list_ended", "list_waiting")
        for _ in range(200 + 20 * len(self.executions)):
            for happening in (*lists, *["news"] * 10, "plan", "label_one", "label_one", "answer_one", "finish", "stop"):
                getattr(self, happening)()
                self.check()
            self.time_passes()
            if all(one.phase != "Live" for one in self.executions.values()):
                return
        raise AssertionError("somebody waits for ever")


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_there_are_never_more_than_the_limit_and_everybody_gets_its_turn(seed):
    """Whatever is late or lost, and whoever leads, as long as only one does."""
    rng = random.Random(seed)
    world = World(rng)
    weights = [weight * rng.choice([0.1, 1.0, 3.0]) for weight in HAPPENINGS.values()]
    for happening in rng.choices(list(HAPPENINGS), weights, k=500):
        getattr(world, happening)()
        world.check()
    world.settle()
