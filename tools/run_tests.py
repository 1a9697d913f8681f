"""Run linters, type checkers and the tests, on every Python and against every API server that is found.

    make test                       everything
    make test ARGS='-k replay'      further arguments go to pytest (on the environment's own Python only)

The end says what ran and what did not. Two variables make what is missing a failure instead of a line at the end:
KONTINUE_REQUIRE_PYTHONS="3.11 3.12 3.13" and KONTINUE_REQUIRE_KUBE=1. The real control plane is built where there is
Go; KONTINUE_TEST_KUBECONFIG=FILE names an existing cluster instead.

Everything runs in several processes beside each other, each with a control plane of its own; a part (ARGS), and what
uses an existing cluster, in one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
VERSION_DEPENDENT = (
    *("tests/unit", "tests/replay", "tests/semantics"),
    *("tests/integration/pool", "tests/integration/controllers"),
)
"""What may differ between interpreters: language, replay, fork and threads. The rest drives whole processes."""
ENGINE_SUITE = (
    *("tests/integration/controllers", "tests/integration/coordinator", "tests/integration/arbiter"),
    *(f"tests/integration/{folder}" for folder in ("client", "worker", "cli", "kube")),
    "tests/e2e",
)
"""What uses an API server without knowing which: it runs against a real one too."""
WORKERS = min(8, 2 * (os.cpu_count() or 1))
"""Processes that run tests: many a test waits for time to pass, or for what it has started."""
IN_PARALLEL = (
    ()
    if os.environ.get("KONTINUE_TEST_KUBECONFIG")
    else ("-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder")  # the long ones come first
)
NO_GO = 3
"""Exit status of tools/kube/build.py."""
GO_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "client-go")
"""A real control plane, and what tests/clients runs: built before the tests, where somebody can see the progress."""
CHECKS = (
    ("ruff check", ["ruff", "check", "."]),
    ("ruff format", ["ruff", "format", "--check", "."]),
    ("codespell", ["codespell", "sdk", "engine", "tools", "bench", "docs", "examples", "README.md"]),
    ("import contracts", ["lint-imports"]),
    ("mypy", ["mypy"]),
    ("pyright", ["pyright"]),
    ("lock file", ["uv", "lock", "--check"]),
    ("CRDs", ["python", "tools/generate_crds.py", "--check"]),
    ("built-in kinds", ["python", "tools/generate_built_in_kinds.py", "--check"]),
    ("documentation", ["mkdocs", "build"]),  # --quiet would silence what strict counts
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--only-checks", action="store_true")
    arguments, pytest_arguments = parser.parse_known_args()
    uv = str(Path(arguments.uv).absolute()) if os.sep in arguments.uv else shutil.which(arguments.uv) or arguments.uv

    results: list[tuple[str, bool, float]] = []
    if not pytest_arguments:
        for name, command in CHECKS:
            program = uv if command[0] == "uv" else str(Path(sys.executable).parent / command[0])
            results.append(run(name, [program, *command[1:]]))
    missing: list[str] = []
    servers: list[str] = []
    if not arguments.only_checks:
        if pytest_arguments:
            results.append(run_pytest("tests", pytest_arguments))
        else:
            servers = test_on_servers(results)
            missing = test_on_pythons(uv, results)
    return report(results, missing, servers)


def test_on_servers(results: list[tuple[str, bool, float]]) -> list[str]:
    """Run all tests, then the engine's against a real control plane too; return which servers were used."""
    kube, why_not = find_control_plane()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    # Where it is, nothing may be skipped for want of it.
    environment = {**os.environ, **({"KONTINUE_REQUIRE_KUBE": "1"} if kube else {})}
    results.append(run_pytest(f"tests on Python {own} (all)", IN_PARALLEL, environment))
    servers = ["API servers: the local one"]
    if kube:
        on_kube = ["--api-server", "kube", *ENGINE_SUITE]
        results.append(run_pytest("tests of the engine on kube", [*IN_PARALLEL, *on_kube], environment))
        servers.append(f"API servers: {kube}")
    else:
        is_required = os.environ.get("KONTINUE_REQUIRE_KUBE") == "1"
        if is_required:
            results.append(("a real control plane, which KONTINUE_REQUIRE_KUBE=1 asks for", False, 0.0))
        servers.append(f"API servers: no real control plane ({why_not}); conformance ran on the local one alone")
    return servers


def find_control_plane() -> tuple[str, str]:
    """Return what the real control plane is, after building it if need be, or why there is none."""
    if existing := os.environ.get("KONTINUE_TEST_KUBECONFIG"):
        return f"the existing cluster of {existing}", ""
    command = [sys.executable, str(ROOT / "tools" / "kube" / "build.py"), *GO_PROGRAMS]
    print("--- real control plane", flush=True)
    built = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    said = built.stdout.strip().splitlines()
    print("\n".join(said), flush=True)
    if built.returncode == 0:
        return f"a real {said[-1]}", ""
    return (
        "",
        "no Go that could build it, see above" if built.returncode == NO_GO else "it could not be built, see above",
    )


def test_on_pythons(uv: str, results: list[tuple[str, bool, float]]) -> list[str]:
    """Run what may depend on the interpreter on the others; return the versions that were not found."""
    missing: list[str] = []
    for version in VERSIONS:
        if version == f"{sys.version_info.major}.{sys.version_info.minor}":
            continue
        python = find_python(version)
        if python is None:
            missing.append(version)
            continue
        results.append(test_on(uv, version, python))
    return missing


def run_pytest(
    name: str, arguments: Sequence[str], environment: dict[str, str] | None = None
) -> tuple[str, bool, float]:
    return run(name, [str(Path(sys.executable).parent / "pytest"), "-q", *arguments], environment)


def test_on(uv: str, version: str, python: str) -> tuple[str, bool, float]:
    """Replay depends on the interpreter, and so may everything else that is not a whole process of its own."""
    folder = ROOT / ".venvs" / version
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)}
    sync = [uv, "sync", "--quiet", "--frozen", "--no-default-groups", "--group", "test", "--python", python]
    synced = run(f"environment for Python {version}", sync, environment)
    if not synced[1]:
        return synced
    return run(
        f"tests on Python {version} (what depends on it)",
        [str(folder / "bin" / "pytest"), "-q", *IN_PARALLEL, *VERSION_DEPENDENT],
    )


def find_python(version: str) -> str | None:
    """Look on PATH first, then where pyenv keeps its versions."""
    found = shutil.which(f"python{version}")
    if found and works(found):
        return found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in sorted(versions.glob(f"{version}.*/bin/python"), reverse=True):
        if works(str(candidate)):
            return str(candidate)
    return None


def works(python: str) -> bool:
    """A pyenv shim exists for versions that are installed, but answers only for those that are switched on."""
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def run(name: str, command: list[str], environment: dict[str, str] | None = None) -> tuple[str, bool, float]:
    print(f"--- {name}", flush=True)
    started = time.monotonic()
    try:
        code = subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
    except FileNotFoundError:
        print(f"{command[0]} is missing: make clean, then again")
        code = 1
    return name, code == 0, time.monotonic() - started


def report(results: list[tuple[str, bool, float]], missing: list[str], servers: list[str]) -> int:
    required = os.environ.get("KONTINUE_REQUIRE_PYTHONS", "").split()
    print()
    for name, passed, seconds in results:
        print(f"{'ok    ' if passed else 'FAILED'} {seconds:7.1f} s  {name}")
    for version in missing:
        print(f"{'FAILED' if version in required else 'absent'}            Python {version} was not found")
    for server in servers:
        print(server)
    failed = [name for name, passed, _ in results if not passed] + [v for v in missing if v in required]
    print("everything passed" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
