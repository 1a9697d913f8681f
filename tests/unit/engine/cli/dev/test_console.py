"""What ``kontinue dev`` prints."""

import io

from kontinue_engine.cli.dev.console import Console, LineLimiter


def test_a_limiter_tells_once_how_many_lines_it_dropped() -> None:
    """The next second passes lines again."""
    limiter = LineLimiter(2)
    assert [limiter.admit(1.0) for _ in range(4)] == [(True, 0), (True, 0), (False, 0), (False, 0)]
    assert limiter.admit(2.5) == (True, 2)
    assert limiter.admit(3.0) == (True, 0)


def test_errors_pass_whatever_the_rate() -> None:
    """And debug lines never do."""
    stream = io.StringIO()
    console = Console(color=False, quiet=True, stream=stream)
    console.log_line(b'{"event":"secret detail","level":"debug"}', now_s=1.0)
    console.log_line(b'{"event":"routine","level":"info"}', now_s=1.0)
    for _ in range(300):
        console.log_line(b'{"event":"broken","level":"error"}', now_s=1.0)
    console.log_line(b"last words", now_s=1.0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 301
    assert lines[-1] == "last words"
    assert "routine" not in stream.getvalue()


def test_every_line_of_one_of_several_workers_begins_with_its_name() -> None:
    """Also the second one of an output."""
    stream = io.StringIO()
    console = Console(color=False, quiet=False, stream=stream)
    console.log_line(b'{"event":"output","execution":"x","text":"one\\ntwo"}', now_s=1.0, source="worker-1")
    console.log_line(b"last words", now_s=1.0, source="server")
    assert stream.getvalue().splitlines() == [
        "worker-1 --:--:-- x | one",
        "worker-1 --:--:-- x | two",
        "server   last words",
    ]
