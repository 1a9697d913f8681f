"""Internal. Global options (``-n -A --context --kubeconfig -l -o -q --no-color``): allowed before and after the verb.

``hoist_globals`` moves them in front of the verb, where the group's callback parses them once; verbs read the result
with ``global_options(ctx)``. Which verb takes which stands in ``kontinue_engine.cli.main:VERBS``: one that would mean
nothing is refused, as kubectl refuses it.
"""

from __future__ import annotations

import enum
import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

_REFERENCE: Final = re.compile(r"(?P<kind>[a-z]+?)s?(\.v1alpha1)?(\.kontinue\.cloud)?/(?P<name>.+)")
"""``kontinue.api.labels`` has the group too, but loading it takes longer than many a verb."""


_NAMED: Final = {
    "execution": "an Execution",
    "function": "a Function",
    "suspension": "a Suspension",
    "scheduledexecution": "a ScheduledExecution",
}


def execution_name(text: str) -> str:
    """Return the name in ``NAME`` or in ``execution.kontinue.cloud/NAME``, as ``-o name`` prints it."""
    return _name_of(text, "execution")


def function_name(text: str) -> str:
    """Return the name in ``NAME`` or in ``function.kontinue.cloud/NAME``."""
    return _name_of(text, "function")


def suspension_name(text: str) -> str:
    """Return the name in ``NAME`` or in ``suspension.kontinue.cloud/NAME``."""
    return _name_of(text, "suspension")


def schedule_name(text: str) -> str:
    """Return the name in ``NAME`` or in ``scheduledexecution.kontinue.cloud/NAME``."""
    return _name_of(text, "scheduledexecution")


def names_suspension(text: str) -> bool:
    """Tell whether a text says by itself that it is the name of a Suspension."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and found["kind"] == "suspension"


def _name_of(text: str, kind: str) -> str:
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return text
    if found["kind"] != kind:
        raise typer.BadParameter(f"{text!r} does not name {_NAMED[kind]}")
    return found["name"]


def candidates(kind: str) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """Return what completes names of that kind, a function of ``kontinue_engine.cli.candidates``.

    It is loaded when a line is completed: it needs what connects to a server.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        del incomplete  # Typer leaves out what does not begin with it
        found: list[tuple[str, str]] = getattr(importlib.import_module("kontinue_engine.cli.candidates"), kind)(ctx)
        return found

    return complete


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", parser=execution_name, autocompletion=candidates("executions"))
]
NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", parser=execution_name, autocompletion=candidates("executions"))
]
AnyNamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", parser=execution_name, autocompletion=candidates("executions")),
]


LiveNamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", parser=execution_name, autocompletion=candidates("live_executions")),
]
EndedNamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", parser=execution_name, autocompletion=candidates("retryable_executions")),
]


class OutputFormat(enum.StrEnum):
    """How data on stdout looks."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


API_GROUPS: Final = ("konductor.io", "sync.konductor.io")
"""``kontinue.api.konductor.group.GROUPS``, which is not imported here."""


class GlobalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the global options say.

    Attributes:
        namespace: None takes the one of the kubeconfig context.
        selector: label selector, or empty.
        quiet: no progress on stderr.
        color: ANSI colours where the stream is a terminal.
        api_groups: in which primitives are served.
    """

    namespace: str | None = None
    all_namespaces: bool = False
    context: str | None = None
    kubeconfig: str | None = None
    selector: str = ""
    output: OutputFormat = OutputFormat.TABLE
    quiet: bool = False
    color: bool = True
    api_groups: tuple[str, ...] = API_GROUPS[:1]

    @property
    def api_group(self) -> str:
        """The only API group of primitives.

        Raises:
            BadParameter: several were named, to a verb that works in one.
        """
        if len(self.api_groups) != 1:
            raise typer.BadParameter("name one: this verb works in one of them", param_hint="--api-group")
        return self.api_groups[0]

    def flags(self) -> str:
        """Return the options that say which server and namespace, as text to paste behind a verb."""
        parts = []
        if self.namespace:
            parts.append(f" -n {self.namespace}")
        if self.context:
            parts.append(f" --context {self.context}")
        if self.kubeconfig:
            parts.append(f" --kubeconfig {self.kubeconfig}")
        if self.api_groups != GlobalOptions().api_groups:
            parts.append(f" --api-group {','.join(self.api_groups)}")
        return "".join(parts)

    def colors_on(self, stream: object) -> bool:
        """Tell whether to colour what goes to ``stream``."""
        return self.color and is_terminal(stream)

    @property
    def is_table(self) -> bool:
        """Whether data are shown as people read them, and not as a program does."""
        return self.output in {OutputFormat.TABLE, OutputFormat.WIDE}


SPELLINGS: Final = {
    "namespace": ("-n", "--namespace"),
    "all_namespaces": ("-A", "--all-namespaces"),
    "context": ("--context",),
    "kubeconfig": ("--kubeconfig",),
    "selector": ("-l", "--selector"),
    "output": ("-o", "--output"),
    "quiet": ("-q", "--quiet"),
    "no_color": ("--no-color",),
    "api_groups": ("--api-group",),
}
"""Global options as they are typed, by their names in ``GlobalOptions``."""
NOTHING: Final = frozenset({"quiet", "no_color"})
"""What verbs take that know no server: how they print."""
OUTPUT: Final = NOTHING | {"output"}
NAMES: Final = OUTPUT | {"namespace", "context", "kubeconfig"}
"""What verbs take that are about objects by their names."""
SELECTS: Final = NAMES | {"selector"}
"""Those that also take a selection, of one namespace."""
LISTS: Final = SELECTS | {"all_namespaces"}
GROUPED: Final = LISTS | {"api_groups"}
"""What verbs take that are about primitives, and"""
GROUPED_NAMES: Final = NAMES | {"api_groups"}
"""those of them that are about objects by their names."""
ANYTHING: Final = frozenset(SPELLINGS)

_FLAGS: Final = frozenset(word for name in ("all_namespaces", "quiet", "no_color") for word in SPELLINGS[name])
_WITH_VALUE: Final = frozenset(word for words in SPELLINGS.values() for word in words) - _FLAGS
_ATTACHED: Final = re.compile(r"-[nlo][^-=].*")
"""A value behind its option without a blank, as in ``-oyaml``. No verb has options of its own by these letters."""
_CLUSTER: Final = re.compile(r"-(?=.*[Aq])[Aqwyr]{2,}")
"""Flags of one letter behind one dash, some of them global, as in ``-Aw``."""


def refuse_others(options: GlobalOptions, verb: str, takes: frozenset[str]) -> None:
    """Refuse global options that mean nothing to a verb, which is given with its program.

    Raises:
        BadParameter: there is one.
    """
    default = GlobalOptions()
    given = [name for name in GlobalOptions.__struct_fields__ if getattr(options, name) != getattr(default, name)]
    for name in given:
        if name in SPELLINGS and name not in takes:
            raise typer.BadParameter(f"{verb} does not take it", param_hint=" / ".join(SPELLINGS[name]))


def told_globals(takes: frozenset[str]) -> str:
    """Return what a verb's help says of the global options that it takes."""
    return " ".join(["Global options:", *(words[0] for name, words in SPELLINGS.items() if name in takes)])


def hoist_globals(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` with the global options first, else in order. Nothing behind ``--`` is touched."""
    hoisted: list[str] = []
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        name, equals, _ = word.partition("=")
        if word in _FLAGS:
            hoisted.append(word)
        elif word in _WITH_VALUE:
            hoisted += [word, *queue[:1]]
            del queue[:1]
        elif (equals and name.startswith("--") and name in _WITH_VALUE) or _ATTACHED.fullmatch(word):
            hoisted.append(word)
        elif _CLUSTER.fullmatch(word):
            hoisted += [f"-{letter}" for letter in word if letter in "Aq"]
            rest += [f"-{letter}" for letter in word[1:] if letter not in "Aq"]
        else:
            rest.append(word)
    return hoisted + rest


def is_global(word: str) -> bool:
    """Tell whether a word is a global option, with its value or without."""
    name = word.partition("=")[0]
    return name in _FLAGS or name in _WITH_VALUE or bool(_ATTACHED.fullmatch(word) or _CLUSTER.fullmatch(word))


def lacks_value(arguments: Sequence[str]) -> bool:
    """Tell whether the last of ``arguments`` is a global option whose value is yet to come."""
    return bool(arguments) and arguments[-1] in _WITH_VALUE


def global_options(ctx: typer.Context) -> GlobalOptions:
    """Return the global options of this call."""
    options = ctx.find_root().obj
    return options if isinstance(options, GlobalOptions) else GlobalOptions()


def parse_groups(text: str) -> tuple[str, ...]:
    """Return what ``--api-group`` names.

    Raises:
        BadParameter: primitives are not served there.
    """
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := next((name for name in names if name not in API_GROUPS), None):
        raise typer.BadParameter(f"{unknown!r}: it is one of {', '.join(API_GROUPS)}", param_hint="--api-group")
    return names


def require_choice(options: GlobalOptions, names: Sequence[str] | None, what: str = "Execution") -> None:
    """Refuse a verb that is to be about nothing, or about names and a selection.

    Raises:
        BadParameter: there are neither names nor a selector, or both.
    """
    if names and options.selector:
        raise typer.BadParameter("give names or a selector with -l, not both", param_hint="NAME")
    if not names and not options.selector:
        raise typer.BadParameter(f"which {what}s? Give their names, or a selector with -l", param_hint="NAME")


def text_option(text: str, option: str) -> tuple[str, str]:
    """Return the text of an option that takes ``TEXT|@FILE|-``, and where it comes from, for messages.

    Raises:
        BadParameter: the file cannot be read, or stdin is closed.
    """
    if text != "-" and not text.startswith("@"):
        return text, option
    source = f"stdin ({option} -)" if text == "-" else text[1:]
    try:
        if text != "-":
            return Path(source).read_text(encoding="utf-8"), source
        if sys.stdin is None:
            raise typer.BadParameter("stdin is closed", param_hint=option)
        return sys.stdin.read(), source
    except OSError as error:
        raise typer.BadParameter(f"{source}: {error.strerror}", param_hint=option) from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{source} is no text in UTF-8", param_hint=option) from error


def is_terminal(stream: object) -> bool:
    """Tell whether a person looks at ``stream``."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())


def table_width(options: GlobalOptions) -> int | None:
    """Return how wide a table on stdout may be; None for as wide as it gets: nobody looks at it, or wants all of it."""
    if options.output is OutputFormat.WIDE or not is_terminal(sys.stdout):
        return None
    return shutil.get_terminal_size().columns


def color_wanted(*, no_color: bool) -> bool:
    """Obey ``--no-color`` and https://no-color.org."""
    return not no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(options: GlobalOptions, text: str) -> None:
    """Print one line of progress on stderr, unless the user asked for quiet."""
    if not options.quiet:
        print(text, file=sys.stderr, flush=True)
