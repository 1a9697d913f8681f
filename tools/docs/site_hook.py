"""What MkDocs does to our pages beside rendering them; ``mkdocs.yml`` names this file as a hook.

- A line ``<!-- made: NAME -->`` becomes what the code says: a drawing or a table (``drawings``, ``tables``).
- ARCHITECTURE.md, CONTRIBUTING.md and CHANGELOG.md, which stand beside docs/, become pages.
- Links to other files of the repository become plain text: the site has no place for them.
- A list or table right below its sentence is one, as for GitHub; MkDocs asks for an empty line.
- A page that would load something from another host fails the build: the site works offline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import drawings
import tables
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT: Final = drawings.ROOT
BESIDE: Final[Mapping[str, str]] = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository's root -> pages of the site."""
MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    "phases": drawings.phases,
    "transitions": drawings.transitions,
    "layers kontinue": lambda: drawings.layers("kontinue"),
    "layers kontinue_engine": lambda: drawings.layers("kontinue_engine"),
    "layers kontinue_engine.apiserver": lambda: drawings.layers("kontinue_engine.apiserver"),
    "command line": tables.command_line,
    "exit codes": tables.exit_code_table,
    "kinds": tables.kinds,
    "labels": tables.labels,
    "error tree": tables.error_tree,
    "api kontinue": lambda: tables.public_names("kontinue"),
    "api kontinue.client": lambda: tables.public_names("kontinue.client"),
    "api kontinue.sync": lambda: tables.public_names("kontinue.sync"),
    "api kontinue.errors": lambda: tables.public_names("kontinue.errors"),
    "api kontinue_engine.testing": lambda: tables.public_names("kontinue_engine.testing"),
}
"""What a page may ask for."""
_MARK: Final = re.compile(r"^<!-- made: (.+) -->$", re.MULTILINE)
_CODE: Final = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LIST: Final = re.compile(r"^(?![-*|#>\s]|\d+\. ).+\n(?=- |1\. |\|)", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)#\s]+)(#[^)]*)?\)")
_FROM_ELSEWHERE: Final = re.compile(
    r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+href=\"?https?:"
)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that stand beside docs/."""
    for name, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Put in what is made from code, and turn links to what is no page."""
    del config, files
    path = page.file.src_uri
    if path == "architecture.md":
        markdown = markdown.replace("\n## Layers\n", "\n## Layers\n\n<!-- made: layers kontinue_engine -->\n", 1)
    parts = _CODE.split(markdown)  # text and code by turns
    return "".join(part if position % 2 else _text(part, path) for position, part in enumerate(parts))


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Refuse what is not there without a network."""
    del config
    if found := _FROM_ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from another host: {found[0]}")
    return output


def _text(markdown: str, path: str) -> str:
    turned = _LINK.sub(lambda link: _turned(link, path), markdown)
    return _MARK.sub(_made, _LIST.sub(r"\g<0>\n", turned))


def _made(mark: re.Match[str]) -> str:
    if mark[1] not in MAKERS:
        raise PluginError(f"{mark[0]}: nothing is called so; there is {', '.join(MAKERS)}")
    return MAKERS[mark[1]]()


def _turned(link: re.Match[str], path: str) -> str:
    """Return the link as the site needs it: to a page, or no link at all."""
    text, target, anchor = link[1], link[2], link[3] or ""
    if path in BESIDE.values():
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')}{anchor})"
        inside = target
    elif target.startswith("../") and not path.startswith(("adr/", "reference/")):
        inside = target.removeprefix("../")
    elif target.startswith("../../"):
        inside = target.removeprefix("../../")
    else:
        return link[0]
    up = "../" * path.count("/")
    if inside in BESIDE:
        return f"[{text}]({up}{BESIDE[inside]}{anchor})"
    return f"[{text}]({up}index.md)" if inside == "README.md" else text
