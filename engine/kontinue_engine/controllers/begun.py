"""Internal. What is known to be there of steps that have no record yet: children, Jobs and Pods.

Noted when something is created or found, and written with whatever is written next (``lifecycle.memo``): no write is
made for it. Who replays and finds it missing knows by this that somebody has deleted it. A new attempt forgets. Called
by ``offspring`` and ``jobs``.
"""

from __future__ import annotations

import msgspec

from kontinue_engine.controllers.entries import Entry
from kontinue_engine.lifecycle.memo import MAX_BEGUN, mark_of
from kontinue_engine.lifecycle.observed import NO_NEWS, News


def note(entry: Entry, step: str, kind: str, name: str) -> None:
    """Take that an object of a step is there."""
    known = entry.news.begun
    if len(known) + len(entry.memo.begun) < MAX_BEGUN and not is_known(entry, step, kind, name):
        entry.news = msgspec.structs.replace(entry.news, begun={**known, step: mark_of(kind, name)})


def is_known(entry: Entry, step: str, kind: str, name: str) -> bool:
    """Tell whether an object of a step has been there in this attempt."""
    writing = entry.writing or NO_NEWS
    mark = mark_of(kind, name)
    return any(mark == known.begun.get(step) for known in (entry.memo, entry.news, writing))


def outliving(news: News) -> News:
    """Return what stays of the news of an activation that has ended."""
    return News(begun=news.begun) if news.begun else NO_NEWS
