import asyncio
from typing import Any

from kontinue_engine.pool.lines import MAX_LINES

FUNCTIONS = """
import logging, subprocess, threading

@app.function
def chatter() -> None:
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.getLogger("shop").info("logged %s", 1)
    sys.stdout.buffer.write(b"bytes\\n")
    os.write(1, b"raw\\n")
    subprocess.run(["echo", "from a subprocess"])
    thread = threading.Thread(target=print, args=["from a thread"])
    thread.start()
    thread.join()
    print("unfinished", end="")

@app.function
def flood(bytes: int) -> None:
    line = "x" * 99
    for _ in range(bytes // 100):
        print(line)

@app.function
def line_flood(bytes: int) -> None:
    left = bytes
    while left:
        left -= os.write(1, b"z\\n" * (min(left, 65536) // 2))

@app.function
def flooding_grandchild() -> None:
    subprocess.Popen(["timeout", "3", "yes"])
    time.sleep(0.1)
    os._exit(1)

@app.function
def raw_flood(bytes: int) -> None:
    left = bytes
    while left:
        left -= os.write(1, b"y" * min(left, 65536))
"""


async def test_all_output_of_an_activation_becomes_its_log_lines(start_pool: Any) -> None:
    """Print, logging, raw writes, subprocesses and threads: each line arrives before the activation has ended."""
    running = await start_pool(FUNCTIONS)
    activation = running.submit("chatter")
    assert await running.result(activation) is None
    lines = [line for _, line in running.heard.lines]
    assert {(line.level, line.logger, line.text) for line in lines} == {
        ("stdout", "", "printed"),
        ("stderr", "", "to stderr"),
        ("info", "shop", "logged 1"),
        ("stdout", "", "bytes"),
        ("stdout", "", "raw"),
        ("stdout", "", "from a subprocess"),
        ("stdout", "", "from a thread"),
        ("stdout", "", "unfinished"),
    }
    assert {line.activation for line in lines} == {activation}
    assert all(line.at_ms > 0 for line in lines)


async def test_a_mebibyte_of_lines_arrives_whole(start_pool: Any) -> None:
    """A flood slows its writer down and loses nothing."""
    running = await start_pool(FUNCTIONS)
    activation = running.submit("flood", bytes=1 << 20)
    await running.result(activation)
    assert [line.text for _, line in running.heard.lines] == ["x" * 99] * ((1 << 20) // 100)


async def test_a_flood_of_tiny_lines_does_not_occupy_the_supervisor(start_pool: Any) -> None:
    """Other runners are served meanwhile: what is not read yet stays in the pipe."""
    running = await start_pool(FUNCTIONS, sync_runners=2)
    flooding = running.submit("line_flood", bytes=1 << 20)
    await running.running(flooding)
    pieces = []
    while flooding not in running.heard.ends:
        before = len(running.heard.lines)
        await asyncio.sleep(0)
        pieces.append(len(running.heard.lines) - before)
    assert 0 < max(pieces) < 2 * MAX_LINES + 20  # in one turn at most: what can be read, and at the end the rest
    await running.heard.until(lambda: sum(line.text.count("z") for _, line in running.heard.lines) >= 1 << 19)


async def test_what_a_living_grandchild_writes_does_not_keep_the_supervisor(start_pool: Any) -> None:
    """Its runner is dead: the rest of the pipe is read, but not for ever."""
    running = await start_pool(FUNCTIONS)
    lost = await running.lost(running.submit("flooding_grandchild"))
    assert lost.was_active
    assert await running.call("chatter") is None


async def test_a_mebibyte_past_python_arrives_whole(start_pool: Any) -> None:
    """Also what C code writes without any newline."""
    running = await start_pool(FUNCTIONS)
    await running.result(running.submit("raw_flood", bytes=1 << 20))
    await running.heard.until(lambda: sum(len(line.text) for _, line in running.heard.lines) >= (1 << 20) - 16384)
    assert {char for _, line in running.heard.lines for char in line.text} == {"y"}
