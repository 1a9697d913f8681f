"""Documents on their way to being stored: shape, names, defaults, rules; definitions; applied configurations."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import orjson

from fuzzing.target import target
from kontinue_engine.apiserver import statuses
from kontinue_engine.apiserver.apply import options as apply_options
from kontinue_engine.apiserver.apply.tracking import Tracker
from kontinue_engine.apiserver.builtin import printing, rules
from kontinue_engine.apiserver.custom import definitions
from kontinue_engine.apiserver.discovery.openapi import OpenApi
from kontinue_engine.apiserver.http import requests
from kontinue_engine.apiserver.http.requests import Target as Place
from kontinue_engine.apiserver.objects import preparation, shape
from kontinue_engine.apiserver.reads import tables
from kontinue_engine.apiserver.registry import Registry, load_crds
from kontinue_engine.apiserver.resources import CUSTOM_RESOURCE_DEFINITIONS, ResourceInfo
from kontinue_engine.apiserver.schemas import metadata, object_rules

NOW = "2026-01-01T00:00:00Z"
CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
REGISTRY = Registry(load_crds())
KINDS = {(info.api_version, info.kind): info for info in REGISTRY.resources}
EXECUTION = KINDS["kontinue.cloud/v1alpha1", "Execution"]


def _prepared(info: ResourceInfo, document: Any) -> dict[str, Any]:
    """Return an object as a create has it before it is judged by its kind."""
    shaped = shape.check_shape(info, document)
    namespace = "default" if info.namespaced else ""
    prepared = preparation.prepare_create(info, shaped, namespace=namespace, name="a", uid="u", now=NOW)
    causes = metadata.validate(prepared["metadata"], find_problem=metadata.subdomain_problem, is_custom=info.custom)
    if causes:
        raise statuses.invalid(info, "a", causes)
    return prepared


def _shown(info: ResourceInfo, document: dict[str, Any]) -> None:
    """What can be stored can be printed."""
    columns, cells = printing.layout(info)
    orjson.dumps(tables.build_table(columns, [document], {}, CLOCK, cells=cells))


def _written(first: bytes, *rest: bytes) -> bytes:
    return b'{"apiVersion":"%b","kind":"%b","metadata":{"name":"a"}%b}' % (first, rest[0], b"".join(rest[1:]))


POD = (
    b',"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1"},"requests":{"cpu":0.5}},'
    b'"ports":[{"containerPort":80}],"env":[{"name":"E","value":"v"}],"livenessProbe":{"httpGet":{"port":"p"}}}],'
    b'"volumes":[{"name":"v","emptyDir":{}}],"restartPolicy":"Never"}'
)


@target(
    _written(b"v1", b"Pod", POD),
    _written(b"v1", b"ConfigMap", b',"data":{"k":"v"},"binaryData":{"b":"aGk="},"immutable":true'),
    _written(b"v1", b"Secret", b',"stringData":{"s":"x"},"data":{"k":"dg=="},"type":"Opaque"'),
    _written(b"v1", b"Service", b',"spec":{"ports":[{"port":80,"targetPort":"x"}],"selector":{"a":"b"}}'),
    _written(
        b"batch/v1", b"Job", b',"spec":{"template":{"metadata":{"labels":{"a":"b"}}' + POD + b'},"completions":2}'
    ),
    _written(
        b"apps/v1",
        b"Deployment",
        b',"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{}' + POD + b"}}",
    ),
    _written(b"coordination.k8s.io/v1", b"Lease", b',"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}'),
    _written(
        b"v1", b"Event", b',"involvedObject":{"name":"x"},"lastTimestamp":"2026-01-01T00:00:00Z","series":{"count":1}'
    ),
)
def built_in_object(data: bytes) -> None:
    """A kind of Kubernetes' own: what is stored is stored again as it is, and can be printed."""
    document = requests.parse_json(data)
    info = (
        KINDS.get((str(document.get("apiVersion")), str(document.get("kind")))) if isinstance(document, dict) else None
    )
    if info is None or info.custom:
        return
    prepared = _prepared(info, document)
    judged, _, causes = rules.judge(info, prepared, None)
    if causes:
        raise statuses.invalid(info, "a", causes)
    _shown(info, judged)
    updated = preparation.prepare_update(info, judged, orjson.loads(orjson.dumps(judged)), subresource="")
    again, _, causes = rules.judge(info, updated, judged)
    assert not causes, causes
    assert again == judged


@target(
    _written(
        b"kontinue.cloud/v1alpha1",
        b"Execution",
        b',"spec":{"function":"hello","arguments":{"a":[1,null]},"retry":{"retries":1,"backoff":"5s"},'
        b'"timeout":{"attempt":"1h"},"x":1},"status":{"phase":"Executing","attempts":{"count":1},"conditions":'
        b'[{"type":"Stopped","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}',
    ),
)
def custom_object(data: bytes) -> None:
    """An Execution: pruned, defaulted and judged; what is stored passes again as it is, and can be printed."""
    document = shape.check_shape(EXECUTION, requests.parse_json(data))
    status = document.get("status")
    prepared = {**_prepared(EXECUTION, document), **({"status": status} if status is not None else {})}
    schema = REGISTRY.schema(EXECUTION)
    assert schema is not None
    schema.prune(prepared)
    schema.default(prepared)
    try:
        causes = schema.validate(prepared, None)
    except object_rules.MalformedError:
        return
    if causes:
        raise statuses.invalid(EXECUTION, "a", causes)
    again = copy.deepcopy(prepared)
    assert schema.prune(again) == []
    schema.default(again)
    assert again == prepared
    assert schema.validate(again, prepared) == []
    _shown(EXECUTION, prepared)


SCHEMA = (
    b'{"type":"object","properties":{"spec":{"type":"object","required":["a"],"properties":{"a":{"type":"string",'
    b'"pattern":"^a+$","maxLength":5,"default":"a"},"n":{"type":"integer","minimum":1},"l":{"type":"array",'
    b'"items":{"type":"object","properties":{"k":{"type":"string"}},"required":["k"]},"x-kubernetes-list-type":"map",'
    b'"x-kubernetes-list-map-keys":["k"]},"q":{"x-kubernetes-int-or-string":true},"m":{"type":"object",'
    b'"additionalProperties":{"type":"number","enum":[1,2]}}}},"status":{"type":"object",'
    b'"x-kubernetes-preserve-unknown-fields":true}}}'
)
DEFINITION = (
    b'{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.example.com"},'
    b'"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"things","kind":"Thing","shortNames":["t"]},'
    b'"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":'
    + SCHEMA
    + b'},"subresources":'
    b'{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},"selectableFields":'
    b'[{"jsonPath":".spec.a"}],"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":".spec.a"}]}]}}'
)
THING = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"name": "a"},
    "spec": {"a": "a", "l": [{"k": 1}]},
}


@target(DEFINITION)
def definition(data: bytes) -> None:
    """A definition that can be stored can be served: described, and objects judged and printed by it."""
    info = CUSTOM_RESOURCE_DEFINITIONS
    prepared = _prepared(info, requests.parse_json(data))
    prepared["metadata"]["name"] = "things.example.com"
    stored, _, causes = definitions.judged(prepared, None, [], now=NOW)
    if causes:
        raise statuses.invalid(info, "a", causes)
    again, _, causes = definitions.judged(stored, stored, [], now=NOW)
    assert (again, causes) == (stored, [])
    registry = Registry()
    assert registry.define(orjson.loads(orjson.dumps(stored)))
    served = [info for info in registry.resources if info.custom]
    described = OpenApi(served)
    for kind in served:
        described.document(f"apis/{kind.group}/{kind.version}")
        schema = registry.schema(kind)
        assert schema is not None
        thing = copy.deepcopy(THING)
        schema.prune(thing)
        schema.default(thing)
        schema.validate(thing, None)
        _shown(kind, thing)


LIVE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "a", "namespace": "default", "labels": {"a": "b"}},
    "spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "x"}], "selector": {"a": "b"}},
}
TRACKER = Tracker(REGISTRY, now=lambda: NOW)
PLACE = Place(KINDS["v1", "Service"], "default", "a", "")


@target(
    _written(
        b"v1", b"Service", b',"spec":{"ports":[{"port":80,"protocol":"TCP","nodePort":1},{"port":81}],"selector":null}'
    ),
    b"apiVersion: v1\nkind: Service\nmetadata: {labels: {a: c}, finalizers: [x/y]}\nspec: {ports: []}\n",
)
def apply(data: bytes) -> None:
    """Applied by one manager, then by another one with force; what is there can be stored."""
    config = apply_options.parse_configuration(PLACE.resource, data)
    created = TRACKER.apply(PLACE, None, config, "one", force=False)
    orjson.dumps(created)
    changed = TRACKER.apply(PLACE, LIVE, config, "one", force=False)
    assert TRACKER.apply(PLACE, changed, config, "one", force=False) == changed
    orjson.dumps(TRACKER.apply(PLACE, changed, config, "kubectl", force=True))
