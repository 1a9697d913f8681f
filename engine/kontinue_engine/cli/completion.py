"""Internal. ``kontinue completion SHELL``: a script for the shell; and what the script asks, ``kontinue __complete``.

The scripts hand over the words of the line and print what comes back, one candidate with its description in each line,
so that verbs, options and names are completed the same way in every shell. What is typed is not run: verbs are only
asked for the candidates of their parameters.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer
from typer import _completion_classes
from typer.completion import completion_init  # type: ignore[attr-defined]  # Typer calls it for its own options

from kontinue_engine.cli.options import hoist_globals, lacks_value

_VARIABLE: Final = "_KONTINUE_COMPLETE"
_PROGRAM: Final = "kontinue"
"""In the scripts, where that of another program stands its own name."""


class Shell(enum.StrEnum):
    """What there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS: Final = {
    Shell.BASH: r"""# For good: kontinue completion bash > ~/.local/share/bash-completion/completions/kontinue
_kontinue() {
    local candidate
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        COMPREPLY+=("$candidate")
    done < <(kontinue __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -o default -F _kontinue kontinue
""",
    Shell.ZSH: r"""#compdef kontinue
# For good: kontinue completion zsh > A_FOLDER_OF_FPATH/_kontinue
_kontinue() {
    local line
    local -a candidates
    while IFS= read -r line; do
        line="${line//:/\\:}"
        candidates+=("${line/$'\t'/:}")
    done < <(kontinue __complete -- "${(@)words[2,$CURRENT]}" 2> /dev/null)
    if (( $#candidates )); then _describe kontinue candidates; else _files; fi
}
if [ "$funcstack[1]" = "_kontinue" ]; then _kontinue "$@"; else compdef _kontinue kontinue; fi
""",
    Shell.FISH: r"""# For good: kontinue completion fish > ~/.config/fish/completions/kontinue.fish
complete -c kontinue -a '(set -l words (commandline -opc)
kontinue __complete -- $words[2..-1] (commandline -ct) 2> /dev/null)'
""",
}


def command(ctx: typer.Context, shell: Annotated[Shell, typer.Argument(help="The shell that you type in.")]) -> None:
    """Print a script that completes verbs, options and names of objects: `source <(kontinue completion bash)`.

    `kubectl kontinue` completes too, where `kubectl_complete-kontinue` is on the PATH beside `kubectl-kontinue`.
    """
    print(_SCRIPTS[shell].replace(_PROGRAM, ctx.find_root().info_name or _PROGRAM), end="")


def answer(words: Sequence[str], build_app: Callable[[Sequence[str]], typer.Typer], program: str) -> None:
    """Print the candidates for the last of ``words`` of a program, each with its description behind a tab."""
    *before, incomplete = words or [""]
    if lacks_value(before):
        before = before[-1:]  # what is typed is the option's value; the verb does not matter
    completion_init()
    # It would load rich, to remove a markup that our texts do not have and that those of users do not mean.
    _completion_classes._sanitize_help_text = lambda text: text
    # Typer's own protocol; that of fish has one candidate with its description in each line.
    os.environ |= {
        _VARIABLE: "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": shlex.join([program, *hoist_globals(before), *filter(None, [incomplete])])
        + (" " if not incomplete else ""),
    }
    said = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said):
        build_app(words)(args=[], prog_name=program, complete_var=_VARIABLE)
    print(said.getvalue().lstrip("\n"), end="")  # for no candidates Typer prints an empty line


def kubectl_main() -> int:
    """Complete ``kubectl kontinue``; entry point of ``kubectl_complete-kontinue``, which kubectl calls with the words.

    Source of the protocol: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/ (command completion).
    """
    main = importlib.import_module("kontinue_engine.cli.main")
    code: int = main.main([main.ASK, "--", *sys.argv[1:]])
    print(":4")  # no file names
    return code
