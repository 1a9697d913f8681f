from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "kube" / "build.py"
GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go{version} linux/amd64"; exit; fi
echo "$@" >> "$(dirname "$0")/calls"
[ -e "$(dirname "$0")/broken" ] && exit 1
while [ $# -gt 2 ]; do [ "$1" = -o ] && out="$2"; shift; done
echo program > "$out"
"""


class Machine:
    """A home with an empty cache and, if asked for, a Go that only pretends."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.cache = folder / "cache"

    def install_go(self, version: str) -> None:
        (self.bin / "go").write_text(GO.format(version=version))
        (self.bin / "go").chmod(0o755)

    def build(self, *arguments: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self.bin}:{path}", "XDG_CACHE_HOME": str(self.cache)}
        command = [sys.executable, str(TOOL), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def built(self) -> set[str]:
        return {path.name for path in self.cache.glob("kontinue/kube/*/*") if not path.name.startswith(".")}

    @property
    def calls(self) -> int:
        return len((self.bin / "calls").read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_everything_is_built_once_and_the_folder_is_named(machine: Machine) -> None:
    """A second run needs no Go at all."""
    machine.install_go("1.99.0")
    done = machine.build()
    assert done.returncode == 0, done.stderr
    assert machine.built == {"etcd", "kube-apiserver", "kube-controller-manager", "helm", "client-go"}
    assert str(machine.cache / "kontinue" / "kube") in done.stdout.splitlines()[-1]
    assert machine.calls == 5
    (machine.bin / "go").unlink()
    assert machine.build().returncode == 0


def test_a_build_that_failed_leaves_nothing_half_and_goes_on_where_it_stopped(machine: Machine) -> None:
    """What was whole is kept; exit status 1 says that the rest is missing."""
    machine.install_go("1.99.0")
    assert machine.build("etcd").returncode == 0
    (machine.bin / "broken").touch()
    failed = machine.build()
    assert failed.returncode == 1
    assert "kube-apiserver" in failed.stderr
    assert machine.built == {"etcd"}
    (machine.bin / "broken").unlink()
    assert machine.build().returncode == 0
    assert machine.calls == 1 + 1 + 4


def test_a_program_of_other_modules_than_are_pinned_now_is_built_anew(machine: Machine) -> None:
    """Known by what it was made of, not by its name."""
    machine.install_go("1.99.0")
    machine.build("etcd")
    (stamp,) = machine.cache.glob("kontinue/kube/*/.etcd.built")
    stamp.write_text("of other modules")
    machine.build("etcd")
    assert machine.calls == 2


def test_a_go_that_is_too_old_is_named_with_the_version_that_is_needed(machine: Machine) -> None:
    """Exit status 3 tells callers that this machine cannot build it."""
    machine.install_go("1.19.8")
    done = machine.build()
    assert done.returncode == 3
    assert "too old (go version go1.19.8" in done.stderr
    assert "Go 1.26 or later" in done.stderr
    assert machine.built == set()


def test_a_program_that_does_not_exist_is_a_usage_error(machine: Machine) -> None:
    """The known ones are listed."""
    done = machine.build("kube-scheduler")
    assert done.returncode == 2
    assert "there are etcd, kube-apiserver" in done.stderr
