"""The kinds of kontinue's own CRDs, as the server sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kontinue_engine.apiserver.custom import custom_resources
from kontinue_engine.apiserver.resources import ResourceInfo
from kontinue_engine.apiserver.schemas.schema import CompiledSchema

CRDS = Path(__file__).resolve().parents[4] / "crds"


@pytest.fixture(scope="session")
def execution_resource() -> ResourceInfo:
    (info,) = custom_resources.resource_infos(yaml.safe_load((CRDS / "execution.yaml").read_text()))
    return info


@pytest.fixture(scope="session")
def execution_schema(execution_resource: ResourceInfo) -> CompiledSchema:
    return CompiledSchema(execution_resource.schema)
