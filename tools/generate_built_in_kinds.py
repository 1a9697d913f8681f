"""Writes what the local API server knows of Kubernetes' own types, from their published Go modules.

    python tools/generate_built_in_kinds.py [--check]

Reads the Go module cache (``go mod download`` in ``tools/kube/control-plane`` fills it) and writes two files into
``engine/kontinue_engine/apiserver/builtin/data``; the same modules give the same content. ``--check`` only compares.
Without the modules, which ``make kube`` brings, there is nothing to do it from: that is said, and is no failure.

- ``types.json.z``: of every struct that a served kind can hold, its fields: JSON name, protobuf number, Go type,
  whether an empty one is left out, and how a strategic merge patch merges it. From the tags in ``k8s.io/api`` and
  ``k8s.io/apimachinery``. ``kontinue_engine.apiserver.builtin.types`` reads it and explains the form.
- ``openapi.json.xz``: the OpenAPI v3 schemas of the served kinds, from ``k8s.io/kubernetes/api/openapi-spec``.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = "0.36.3"
KUBERNETES = f"kubernetes@v1{VERSION[1:]}"
MODULES = (KUBERNETES, f"api@v{VERSION}", f"apimachinery@v{VERSION}")
OUTPUT = Path(__file__).parents[1] / "engine" / "kontinue_engine" / "apiserver" / "builtin" / "data"

KINDS = {
    "core/v1": (
        *("Binding", "ConfigMap", "Endpoints", "Event", "Namespace", "Node", "Pod", "Secret", "Service"),
        "ServiceAccount",
    ),
    "apps/v1": ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    "authentication/v1": ("SelfSubjectReview", "TokenRequest", "TokenReview"),
    "authorization/v1": (
        *("LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"),
    ),
    "autoscaling/v1": ("HorizontalPodAutoscaler", "Scale"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "batch/v1": ("CronJob", "Job"),
    "coordination/v1": ("Lease",),
    "discovery/v1": ("EndpointSlice",),
    "events/v1": ("Event",),
    "policy/v1": ("Eviction", "PodDisruptionBudget"),
    "rbac/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "scheduling/v1": ("PriorityClass",),
    "meta/v1": ("DeleteOptions",),
}
"""Kinds by the package of their Go type."""

DOCUMENTS = (
    *("api__v1", "apis__apps__v1", "apis__authentication.k8s.io__v1", "apis__authorization.k8s.io__v1"),
    *("apis__autoscaling__v1", "apis__autoscaling__v2", "apis__batch__v1", "apis__coordination.k8s.io__v1"),
    *("apis__discovery.k8s.io__v1", "apis__events.k8s.io__v1", "apis__policy__v1"),
    *("apis__rbac.authorization.k8s.io__v1", "apis__scheduling.k8s.io__v1", "apis__apiextensions.k8s.io__v1"),
)
EXTRA_SCHEMAS = ("CustomResourceDefinition",)

SCALARS = {
    "string": "s",
    **dict.fromkeys(("int32", "uint32"), "i"),
    **dict.fromkeys(("int", "int64", "uint64"), "l"),
    **dict.fromkeys(("float32", "float64"), "d"),
    "bool": "b",
    "[]byte": "y",
    "meta/v1.Time": "T",
    "meta/v1.MicroTime": "M",
    "meta/v1.Duration": "D",
    "meta/v1.FieldsV1": "F",
    "resource.Quantity": "Q",
    "intstr.IntOrString": "I",
    "runtime.RawExtension": "R",
}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^type (\w+) ((?:\[\]|map\[|\*)?[\w.\[\]*]+)$", re.MULTILINE)
FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([\w.\[\]*]+)\s+`([^`]*)`", re.MULTILINE)
TAG = re.compile(r'(\w+):"([^"]*)"')
IMPORTS = {"metav1": "meta/v1", "v1": "core/v1", "corev1": "core/v1", "apiv1": "core/v1"}


class Source:
    """Go type declarations, read package by package when they are asked for."""

    def __init__(self, modules: Path) -> None:
        self._modules = modules
        self._packages: dict[str, tuple[dict[str, str], dict[str, str]]] = {}

    def package(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return (bodies of structs, right sides of other types) by name."""
        if name not in self._packages:
            apimachinery = self._modules / f"apimachinery@v{VERSION}" / "pkg" / "apis" / name
            folder = apimachinery if apimachinery.is_dir() else self._modules / f"api@v{VERSION}" / name
            text = "\n".join(file.read_text() for file in sorted(folder.glob("*types.go")))
            self._packages[name] = dict(STRUCT.findall(text)), dict(NAMED.findall(text))
        return self._packages[name]


class Types:
    """Collects the structs that can be reached from the kinds."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.found: dict[str, dict[str, list[Any]]] = {}

    def add(self, package: str, name: str) -> str:
        """Add a struct and what it holds; returns its full name."""
        full = f"{package}.{name}"
        if full not in self.found:
            self.found[full] = {}
            body = self._source.package(package)[0][name]
            for _, go_type, tags in FIELD.findall(re.sub(r"^\s*//.*$", "", body, flags=re.MULTILINE)):
                self._add_field(full, package, go_type, dict(TAG.findall(tags)))
        return full

    def _add_field(self, full: str, package: str, go_type: str, tags: dict[str, str]) -> None:
        json_name, *options = tags["json"].split(",")
        wire = tags.get("protobuf", "").split(",")
        number = int(wire[1]) if len(wire) > 1 else 0
        if json_name == "-":
            return
        if "inline" in options and not number:  # TypeMeta
            return
        code = self.code(package, go_type.lstrip("*"))
        if go_type.startswith("*"):
            emptiness = "p"
        elif "omitempty" in options or "omitzero" in options:
            emptiness = "z" if "omitzero" in options else "o"
        else:
            emptiness = ""
        if "inline" in options:
            json_name = f"={number}"
        entry: list[Any] = [number, code, emptiness]
        if "patchStrategy" in tags:
            entry += [tags["patchStrategy"], tags.get("patchMergeKey", "")]
        self.found[full][json_name] = entry

    def code(self, package: str, go_type: str) -> str:
        """Return the code of a Go type: a letter, a struct's name, or ``[]`` or ``{}`` before either."""
        if go_type in SCALARS:
            return SCALARS[go_type]
        if go_type.startswith("[]"):
            return "[]" + self.code(package, go_type[2:].lstrip("*"))
        if go_type.startswith("map["):
            return "{}" + self.code(package, go_type.partition("]")[2].lstrip("*"))
        prefix, _, name = go_type.rpartition(".")
        if prefix:
            package = IMPORTS.get(prefix, prefix)
        elif package == "apis/meta/v1":
            package = "meta/v1"
        full = f"{package}.{name}"
        if full in SCALARS:
            return SCALARS[full]
        if package == "types":  # apimachinery's UID and the like
            return "s"
        structs, others = self._source.package(package)
        if name in structs:
            return self.add(package, name)
        code = self.code(package, others[name])
        # A named slice is a message of its own on the wire.
        return f"<>{code}" if code.startswith("[]") else code


def build_types(source: Source) -> bytes:
    """Return the table of types as JSON."""
    types = Types(source)
    for package, names in KINDS.items():
        for name in names:
            types.add(package, name)
    return json.dumps(types.found, sort_keys=True, separators=(",", ":")).encode()


def build_schemas(folder: Path) -> bytes:
    """Return the OpenAPI schemas of the served kinds, their lists and what both refer to, as JSON."""
    every: dict[str, Any] = {}
    for document in DOCUMENTS:
        every |= json.loads((folder / f"{document}_openapi.json").read_text())["components"]["schemas"]
    served = {name for names in KINDS.values() for name in names} | set(EXTRA_SCHEMAS)
    served |= {f"{name}List" for name in served}
    pending = [name for name in every if name.rpartition(".")[2] in served]
    found: dict[str, Any] = {}
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = every[name]
        pending += re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(every[name]))
    for schema in found.values():
        if len(schema.get("x-kubernetes-group-version-kind", ())) > 20:  # DeleteOptions and the like: every group
            del schema["x-kubernetes-group-version-kind"]
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def module_cache() -> Path:
    """Return where Go keeps modules; where there is no Go, where it would."""
    if go := shutil.which("go"):
        return Path(
            subprocess.run([go, "env", "GOMODCACHE"], check=True, capture_output=True, text=True).stdout.strip()
        )
    return Path.home() / "go" / "pkg" / "mod"


def main() -> int:
    """Write or compare the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    arguments = parser.parse_args()
    modules = module_cache() / "k8s.io"
    if missing := [name for name in MODULES if not (modules / name).is_dir()]:
        print(f"built-in kinds are left as they are: {', '.join(missing)} not in {modules} (make kube brings them)")
        return 0
    schemas = modules / KUBERNETES / "api" / "openapi-spec" / "v3"
    # Compared before compression, which other versions of its library do otherwise.
    wanted: list[tuple[str, bytes, Callable[[bytes], bytes], Callable[[bytes], bytes]]] = [
        ("types.json.z", build_types(Source(modules)), lambda data: zlib.compress(data, 9), zlib.decompress),
        ("openapi.json.xz", build_schemas(schemas), lzma.compress, lzma.decompress),
    ]
    changed = 0
    for name, content, compress, decompress in wanted:
        path = OUTPUT / name
        if path.exists() and decompress(path.read_bytes()) == content:
            continue
        changed += 1
        print(f"{path}: {'would change' if arguments.check else 'written'}")
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(compress(content))
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
