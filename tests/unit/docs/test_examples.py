"""Every example in a document is executed by some test; what only a cluster can run is at least spelled as it must be.

Which test executes the Python of which page stands in ``EXECUTED_BY``; command lines are parsed here, by the programs
that they call, as far as those are ours.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kontinue_engine.cli.koncli import KONCLI
from kontinue_engine.cli.main import build_app
from kontinue_engine.cli.options import hoist_globals
from kontinue_engine.worker.options import parse_options

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEMPLATE = ROOT / "engine" / "kontinue_engine" / "cli" / "skeleton" / "README.md.in"
"""The page of a project that ``kontinue init`` makes."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXECUTED_BY = {
    "README.md": "integration/client/test_readme.py",
    "approvals.md": "integration/testing/test_documentation.py",
    "barriers.md": "integration/arbiter/test_barrier_arbiter.py",
    "canceling.md": "integration/testing/test_documentation.py",
    "changing-code.md": "integration/testing/test_changing_code.py",
    "client.md": "integration/client/test_documentation.py",
    "cpu-bound-work.md": "integration/testing/test_documentation.py",
    "from-celery.md": "integration/testing/test_documentation.py",
    "from-temporal.md": "integration/testing/test_documentation.py",
    "coordination.md": "integration/client/test_wait_group.py",
    "coordination-in-functions.md": "integration/testing/test_documentation.py",
    "gates.md": "integration/arbiter/test_gate_arbiter.py",
    "jobs.md": "integration/testing/test_documentation.py",
    "leases.md": "integration/arbiter/test_lease_arbiter.py",
    "locks.md": "integration/client/test_mutex.py",
    "long-histories.md": "integration/testing/test_documentation.py",
    "mutexes-and-limits.md": "integration/testing/test_fragments.py",
    "observability.md": "integration/worker/test_observability_documentation.py",
    "polling.md": "integration/testing/test_documentation.py",
    "retention.md": "semantics/test_retention.py",
    "retries.md": "integration/testing/test_documentation.py",
    "schedules.md": "e2e/test_schedules.py",
    "semaphores.md": "integration/arbiter/test_semaphore_arbiter.py",
    "sharding.md": "integration/testing/test_fragments.py",
    "suspensions.md": "integration/testing/test_documentation.py",
    "testing.md": "integration/testing/test_documentation.py",
    "timeouts.md": "integration/testing/test_documentation.py",
    "tutorial.md": "integration/cli/test_tutorial.py",
    "worker-groups.md": "integration/testing/test_fragments.py",
}
"""Page -> the test that runs its Python."""


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def commands(program: str) -> list[Any]:
    """Return the command lines of a program, in all documents, without prompts and comments."""
    found = []
    for page in [*PAGES, TEMPLATE]:
        for code in blocks(page, "sh", "console", "shell", "bash", ""):
            for line in code.replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ")
                if re.match(rf"{program} ", command):
                    words = shlex.split(command.split(" | ")[0], comments=True)
                    words = [word.strip("[]") if word.startswith("[--") else word for word in words]
                    found.append(pytest.param(words[1:], id=f"{page.name}: {shlex.join(words)}"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_every_page_is_executed_by_a_test(page: Path) -> None:
    """A new page names its test; the test names the page."""
    if blocks(page, "python"):
        executing = ROOT / "tests" / EXECUTED_BY[page.name]
        assert page.name in executing.read_text()
    else:
        assert page.name not in EXECUTED_BY


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_what_it_says_that_it_is(page: Path) -> None:
    """Python compiles, that of other libraries (``py``) too; YAML and JSON parse."""
    for code in blocks(page, "python", "py"):
        compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    for text in blocks(page, "yaml"):
        list(yaml.safe_load_all(text))
    for text in blocks(page, "json"):
        for line in text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("words", commands("kontinue"))
def test_the_command_line_takes_what_a_page_types(words: list[str]) -> None:
    """Verbs, options, global ones too, and the number of arguments; nothing is run."""
    if words[:2] == ["worker", "run"]:
        parse_options(words[2:])
        return
    command: Any = typer.main.get_command(build_app(words))
    for verb in command.commands.values():
        disarm(verb)  # and not what refuses global options that mean nothing to the verb
    assert command.main(hoist_globals(words), prog_name="kontinue", standalone_mode=False) in {None, 0}


@pytest.mark.parametrize("words", commands("koncli"))
def test_koncli_takes_what_a_page_types(words: list[str]) -> None:
    """The same for the other console script."""
    command = typer.main.get_command(build_app(words, KONCLI))
    disarm(command)
    assert command.main(hoist_globals(words), prog_name="koncli", standalone_mode=False) in {None, 0}


def disarm(command: Any) -> None:
    """Have a command, and those below it, do nothing once their arguments are parsed."""
    command.callback = lambda **_: None
    for below in getattr(command, "commands", {}).values():
        disarm(below)


@pytest.mark.parametrize("words", commands("make"))
def test_make_has_the_targets_that_a_page_names(words: list[str]) -> None:
    """And takes ARGS or ROUNDS where they are given."""
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert re.search(rf"\$\({name}\)" if is_variable else rf"^{name}:", makefile, re.MULTILINE), word
