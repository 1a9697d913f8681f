"""Build a real Kubernetes control plane and other programs in Go for tests, from the modules that their go.mod pins.

    make kube                       etcd, kube-apiserver, kube-controller-manager, helm and the tests' client in Go

They come to ~/.cache/kontinue/kube/VERSION (or below XDG_CACHE_HOME), which is printed at the end. What is there
already is kept: a second run needs neither Go nor the network. Each program appears only when it is whole, so that a
build that was killed goes on where it stopped. The first takes some minutes and 2 GB of Go's own caches.

Exit status 3: something is missing, and there is no Go that could build it.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_GO = 3
FALLBACK_GO = Path("/usr/local/go/bin/go")
"""Where Go's own archives are unpacked by habit, without being on the PATH."""


class BuildError(Exception):
    """What is missing cannot be built; the message says what to do."""


class NoGoError(BuildError):
    """There is no Go, or it is too old."""


@dataclasses.dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        name: of the file.
        folder: with the go.mod that pins it, seen from this one.
        module: whose version is the program's.
        package: the main package.
        tags: build tags, those of its makers.
        stamp: variable that says the version, for the linker; of Kubernetes, the prefix of several.
    """

    name: str
    folder: str
    module: str
    package: str
    tags: str = ""
    stamp: str = ""

    @property
    def version(self) -> str:
        """The pinned version, with its v."""
        text = (HERE / self.folder / "go.mod").read_text()
        found = re.search(rf"^(?:require|\s)\s*{re.escape(self.module)} (v\S+)", text, re.MULTILINE)
        assert found, f"{self.folder}/go.mod does not require {self.module}"
        return found[1]

    def flags(self) -> list[str]:
        """Return the options of ``go build``."""
        values = {f"{self.stamp}.gitVersion": self.version} if self.stamp else {}
        if self.stamp:
            major, minor, _ = self.version.removeprefix("v").split(".", 2)
            values |= {f"{self.stamp}.gitMajor": major, f"{self.stamp}.gitMinor": minor}
        linker = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in values.items())])
        return ["-trimpath", f"-ldflags={linker}", *([f"-tags={self.tags}"] if self.tags else [])]

    def fingerprint(self) -> str:
        """Return what changes when the program must be built anew."""
        module = HERE / self.folder
        files = (module / "go.mod", module / "go.sum", *sorted(module.glob("*.go")))
        parts = [*(file.read_bytes() for file in files), repr(self.flags()).encode()]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


KUBERNETES = "k8s.io/kubernetes"
KUBERNETES_TAGS = "selinux,notest,grpcnotrace"
KUBERNETES_STAMP = "k8s.io/component-base/version"
PROGRAMS = (
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    *(
        Program(name, "control-plane", KUBERNETES, f"{KUBERNETES}/cmd/{name}", KUBERNETES_TAGS, KUBERNETES_STAMP)
        for name in ("kube-apiserver", "kube-controller-manager")
    ),
    Program("helm", "helm", "helm.sh/helm/v3", "helm.sh/helm/v3/cmd/helm"),
    Program("client-go", "../../tests/clients/client_go", "k8s.io/client-go", "."),
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="only these (default: all)")
    chosen = parser.parse_args(arguments).programs
    known = {program.name: program for program in PROGRAMS}
    if unknown := set(chosen) - known.keys():
        parser.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    try:
        build([known[name] for name in chosen] if chosen else list(PROGRAMS), folder())
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_GO if isinstance(error, NoGoError) else 1
    return 0


def folder() -> Path:
    """Return where the programs belong."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = next(program.version for program in PROGRAMS if program.module == KUBERNETES)
    return cache / "kontinue" / "kube" / version.removeprefix("v")


def build(programs: list[Program], into: Path) -> None:
    """Build what is missing or older than its go.mod; one build at a time."""
    into.mkdir(parents=True, exist_ok=True)
    with (into / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [program for program in programs if not is_current(program, into)]
        if missing:
            go = find_go(missing)
            for number, program in enumerate(missing, 1):
                build_one(go, program, into, f"{number} of {len(missing)}")
    print(f"control plane {into.name} is in {into}", flush=True)


def is_current(program: Program, into: Path) -> bool:
    """Whether it is there and made of what is pinned now."""
    stamp = stamp_file(program, into)
    return (into / program.name).exists() and stamp.exists() and stamp.read_text() == program.fingerprint()


def stamp_file(program: Program, into: Path) -> Path:
    """Return the file that says what the program was made of."""
    return into / f".{program.name}.built"


def build_one(go: str, program: Program, into: Path, count: str) -> None:
    """Build one program to a temporary name, and move it once it is whole."""
    print(f"building {program.name} {program.version} ({count})", flush=True)
    started = time.monotonic()
    unfinished = into / f".{program.name}.unfinished"
    command = [go, "build", *program.flags(), "-o", str(unfinished), program.package]
    done = subprocess.run(command, cwd=HERE / program.folder, env=environment(), check=False)
    if done.returncode != 0:
        raise BuildError(
            f"go could not build {program.name} (see above). It downloads modules unless it has them: is there a "
            "network, and does `go env GOPROXY` name a proxy that answers? What is built already is kept; run it again"
        )
    # The stamp goes first: a program is believed only while its stamp says what it is made of.
    stamp_file(program, into).unlink(missing_ok=True)
    unfinished.replace(into / program.name)
    stamp_file(program, into).write_text(program.fingerprint())
    print(f"built {program.name} in {time.monotonic() - started:.0f} s", flush=True)


def environment() -> dict[str, str]:
    # No other toolchain than the one that was checked; no C compiler, whose libraries the program would then need.
    return {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


def find_go(programs: list[Program]) -> str:
    """Return a Go that is new enough for all of them."""
    wanted = max(needed_go(program) for program in programs)
    what = f"Go {'.'.join(map(str, wanted))} or later, to build {', '.join(program.name for program in programs)}"
    go = shutil.which("go") or (str(FALLBACK_GO) if FALLBACK_GO.exists() else None)
    if go is None:
        raise NoGoError(f"no Go found. Install {what}, and put it on the PATH")
    said = subprocess.run([go, "version"], env=environment(), capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < wanted:
        raise NoGoError(f"{go} is too old ({said.strip() or 'it does not say its version'}). Install {what}")
    return go


def needed_go(program: Program) -> tuple[int, int]:
    """Return the version of Go that its go.mod asks for."""
    found = re.search(r"^go (\d+)\.(\d+)", (HERE / program.folder / "go.mod").read_text(), re.MULTILINE)
    assert found, f"{program.folder}/go.mod has no go line"
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
