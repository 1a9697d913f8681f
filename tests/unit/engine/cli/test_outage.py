"""A server that goes away while something is followed."""

import io

from kontinue.errors import Gone, Unavailable
from kontinue_engine.cli.following import Outage
from kontinue_engine.cli.progress import LineProgress


async def test_an_outage_is_told_once_and_its_end_once() -> None:
    """However often the watch is tried; an error that was told is not told again, a new one is."""
    answers = False

    async def ask() -> bool:
        return answers

    stream = io.StringIO()
    outage = Outage(LineProgress(stream, color=False), ask)
    first = Unavailable("cut")
    for error in (None, Gone("old"), first, Unavailable("refused"), Unavailable("refused")):
        await outage.note(error)
    assert stream.getvalue().count("\n") == 1
    assert "is away" in stream.getvalue()
    answers = True
    last = Unavailable("refused")
    for error in (last, last, None):
        await outage.note(error)
    assert stream.getvalue().splitlines()[1:] == ["The server is back."]
    await outage.note(Unavailable("cut again"))
    assert stream.getvalue().count("is away") == 2
