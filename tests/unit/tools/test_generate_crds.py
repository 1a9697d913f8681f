from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from kontinue.api import v1alpha1

TOOL = Path(__file__).resolve().parents[3] / "tools" / "generate_crds.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_crds", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def execution(tool: ModuleType) -> dict[str, Any]:
    return tool.build_crd(tool.EXECUTION)["spec"]["versions"][0]


def nodes(schema: dict[str, Any]) -> list[dict[str, Any]]:
    below = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return [schema, *(node for child in below for node in nodes(child))]


def test_the_committed_files_are_up_to_date(tool: ModuleType, capsys: pytest.CaptureFixture[str]):
    """A change of the API structs must come with its CRDs."""
    assert tool.main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_a_stale_file_and_writes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """CI sees what to do; without the option the files are written, once."""
    monkeypatch.setattr(tool, "CRDS_DIR", tmp_path)
    assert tool.main(["--check"]) == 1
    assert "execution.yaml is out of date" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert tool.main([]) == 0
    kinds = ["archivedexecution", "execution", "function", "memopage", "scheduledexecution", "suspension"]
    kinds += ["arrival", "barrier", "mutex", "once", "permit", "rwmutex", "semaphore", "waitgroup"]
    kinds += ["gate", "lease", "leaserequest"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{kind}.yaml" for kind in kinds)
    assert tool.main(["--check"]) == 0
    capsys.readouterr()
    assert tool.main([]) == 0
    assert capsys.readouterr().out == ""


def test_names_are_those_that_users_type(tool: ModuleType):
    """Short names and the category of all our kinds."""
    names = [tool.build_crd(kind)["spec"]["names"] for kind in tool.KINDS]
    expected = ["kfn", "kex", "ksus", "ksched", "kmemo", "karch"]
    expected += ["kwg", "kmx", "krw", "konce", "ksem", "kper", "kbar", "karr", "kgate", "kls", "klsr"]
    assert [name["shortNames"][0] for name in names] == expected
    assert all(name["categories"] == ["kontinue"] for name in names)


def test_free_form_json_is_one_value(execution: dict[str, Any]):
    """Otherwise managedFields would list every key of every memo record."""
    properties = execution["schema"]["openAPIV3Schema"]["properties"]
    for node in (properties["spec"]["properties"]["arguments"], properties["status"]["properties"]["state"]):
        assert node["type"] == "object"
        assert node["x-kubernetes-preserve-unknown-fields"] is True
        assert node["x-kubernetes-map-type"] == "atomic"
    result = properties["status"]["properties"]["result"]
    assert "type" not in result
    assert (result["x-kubernetes-preserve-unknown-fields"], result["nullable"]) == (True, True)


def test_nothing_is_required_in_a_status_but_the_keys_of_conditions(execution: dict[str, Any]):
    """A client may patch in a phase alone; a list map needs its key."""
    status = execution["schema"]["openAPIV3Schema"]["properties"]["status"]
    required = [node["required"] for node in nodes(status) if "required" in node]
    assert required == [["type", "status"]]
    assert status["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]


def test_every_field_has_a_description(tool: ModuleType):
    """Otherwise kubectl explain says <empty>; metadata is described by the server."""
    for kind in tool.KINDS:
        properties = tool.build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        bare = [
            node
            for key, value in properties.items()
            if key != "metadata"
            for node in nodes(value)
            if "description" not in node and node != {"type": "string"}
        ]
        assert bare == []
        assert "``" not in yaml.safe_dump(properties)


def test_phases_and_limits_come_from_the_structs(execution: dict[str, Any]):
    """One source for enums and limits."""
    properties = execution["schema"]["openAPIV3Schema"]["properties"]
    status = properties["status"]["properties"]
    assert status["phase"]["enum"] == [phase.value for phase in v1alpha1.Phase]
    assert status["attempts"]["maxItems"] == v1alpha1.MAX_ATTEMPTS_KEPT
    assert properties["spec"]["required"] == ["function"]
    assert properties["spec"]["properties"]["function"]["maxLength"] == 253


def test_fields_are_selectable_and_printed(execution: dict[str, Any]):
    """As the design asks for."""
    assert execution["selectableFields"] == [{"jsonPath": ".status.phase"}, {"jsonPath": ".spec.function"}]
    assert execution["subresources"] == {"status": {}}
    shown = [column["name"] for column in execution["additionalPrinterColumns"] if "priority" not in column]
    assert shown == ["Function", "Phase", "Attempt", "Waiting-For", "Age"]


def test_a_type_without_schema_is_an_error(tool: ModuleType):
    """A struct with a field that the tool does not know must not become a hole in the schema."""
    with pytest.raises(TypeError, match="no schema for"):
        tool._schema(object(), is_status=False)
    with pytest.raises(TypeError, match="is not a struct"):
        tool._fields(object())
