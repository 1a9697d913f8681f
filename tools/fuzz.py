"""Search one parser of the local server for inputs that it trips over, guided by coverage, for as long as wanted.

    pip install atheris               in .venv; Linux, no dependency of anything else
    .venv/bin/python tools/fuzz.py yaml_body --seconds 600
    .venv/bin/python tools/fuzz.py    names the parsers

Inputs that reached something new are kept in .fuzz/PARSER and begun with the next time; what trips it is printed with
its traceback and kept as .fuzz/crash-...: write the test beside the module that was wrong. `tests/fuzz` runs the same
functions without atheris.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".fuzz"
HANG_S = 10
MAX_INPUT_BYTES = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parser", nargs="?")
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed: .venvs/bootstrap/bin/uv pip install --python .venv/bin/python atheris")
        return 1
    with atheris.instrument_imports(include=["kontinue_engine.apiserver"], enable_loader_override=False):
        fuzzing = importlib.import_module("fuzzing")
    status_error = importlib.import_module("kontinue_engine.apiserver.statuses").StatusError
    target = fuzzing.TARGETS.get(arguments.parser)
    if target is None:
        print("\n".join(fuzzing.TARGETS))
        return 2

    def run(data: bytes) -> None:
        with contextlib.suppress(status_error, RecursionError):  # of which the router makes one
            target.run(data)

    corpus = FOLDER / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={arguments.seconds}", f"-timeout={HANG_S}", f"-max_len={MAX_INPUT_BYTES}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={FOLDER}/", "-print_final_stats=1", str(corpus)], run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
