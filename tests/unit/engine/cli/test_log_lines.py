"""JSON log lines for people."""

from kontinue_engine.cli.log_lines import format_log_line, parse_log_line

LINE = b'{"time":"2026-01-02T03:04:05+00:00","level":"info","event":"output","execution":"x","text":"a\\nb\\n"}'


def test_only_json_log_lines_are_parsed() -> None:
    """The last words of a crash are passed on as they are."""
    assert parse_log_line(LINE) is not None
    assert parse_log_line(b"Segmentation fault") is None
    assert parse_log_line(b"{broken") is None
    assert parse_log_line(b'{"no":"event"}') is None


def test_user_output_stands_behind_its_execution() -> None:
    """Each line of it."""
    fields = parse_log_line(LINE)
    assert fields is not None
    first, second = format_log_line(fields, color=False).split("\n")
    assert first.endswith(" x | a")
    assert second.endswith(" x | b")


def test_events_show_their_data_and_traceback() -> None:
    """Values with blanks are quoted, what stands elsewhere in the line is not repeated."""
    text = format_log_line(
        {"time": 0, "level": "warning", "event": "runner ended", "pid": 7, "how": "by SIGKILL", "traceback": "T\n  l"},
        color=False,
    )
    assert text.split("\n")[0].endswith('runner ended pid=7 how="by SIGKILL"')
    assert text.split("\n")[1:] == ["    T", "      l"]


def test_a_line_without_a_time_is_still_shown() -> None:
    """Foreign log lines have other fields."""
    assert format_log_line({"event": "hello"}, color=False) == "--:--:-- hello"
