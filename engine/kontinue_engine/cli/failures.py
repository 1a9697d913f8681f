"""Internal. Errors as people read them. Loaded when there is one: it needs the packages that raise them.

Called by ``kontinue_engine.cli.main``, and by verbs whose exit codes tell errors apart.
"""

from __future__ import annotations

import os
import sys

from kontinue.errors import ApiError
from kontinue_engine.errors import first_known


def tell(error: Exception, *, with_notes: bool = False) -> None:
    """Say on stderr what went wrong; ``with_notes`` also where something was looked for that is not there.

    Raises:
        Exception: the error itself, if it is a bug, or if somebody looks for one.
    """
    text = told(error)
    if not text or os.environ.get("KONTINUE_DEBUG"):
        raise error
    notes = getattr(first_known(error), "__notes__", ()) if with_notes else ()
    print(" ".join([f"error: {text}", *notes]), file=sys.stderr)


def told(error: Exception) -> str:
    """Return what went wrong, in words; empty for what nobody has raised on purpose, which is a bug."""
    known = first_known(error)
    return "" if known is None else error_text(known)


def error_text(error: Exception) -> str:
    """Return what went wrong, in words; for a refused request, what to check."""
    text = str(error)
    if isinstance(error, ApiError) and error.status == 0:
        text += (
            "\nIs the server running? `kontinue dev MODULE:APP` starts one; --kubeconfig and --context choose others."
        )
    return text
