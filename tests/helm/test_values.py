"""The values: one model, one schema, one file of defaults, and no way to mistype a key unnoticed."""

import copy
from typing import Any

import helm_python
import pytest

from helm.values import SCHEMA, Values, schema, text
from tests.support.helm.chart import MATRIX, PRODUCTION, laid, render, values_file


def test_the_schema_is_the_models() -> None:
    assert SCHEMA.read_text() == text(), "run: python -m helm.values"


def test_every_key_of_the_models_stands_in_the_values_file_with_its_default() -> None:
    defaults = values_file("values.yaml")
    parsed = Values.model_validate(defaults)
    missing = [path for path in _paths(parsed.model_dump(by_alias=True)) if not _has(defaults, path)]
    optional = {"pods", "resources", "workers"}  # parts that are laid over others, or may be left out
    assert [path for path in missing if not optional & set(path)] == []


def _paths(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [at]
    return [path for key, part in value.items() for path in [(*at, key), *_paths(part, (*at, key))]]


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_the_models_accept_what_the_chart_accepts(values: dict[str, Any]) -> None:
    Values.model_validate(laid(values_file("values.yaml"), values))


def _objects(part: Any, at: str = "#") -> list[tuple[str, dict[str, Any]]]:
    if isinstance(part, list):
        return [found for number, item in enumerate(part) for found in _objects(item, f"{at}/{number}")]
    if not isinstance(part, dict):
        return []
    here = [(at, part)] if {"properties", "patternProperties"} & part.keys() else []
    return here + [found for key, value in part.items() for found in _objects(value, f"{at}/{key}")]


def test_no_part_of_the_schema_has_an_open_root() -> None:
    parts = _objects(schema())
    assert len(parts) > 20
    assert [at for at, part in parts if part.get("additionalProperties") is not False] == []


MISTYPED: list[dict[str, Any]] = [
    {"replica": 2},
    {"server": {"replicaz": 2}},
    {"server": {"services": {"seperate": True}}},
    {"redis": {"enable": True}},
    {"workers": {"loads": {"replicas": 1, "queue": "x"}}},
    {"controller": {"resources": {"limit": {"memory": "1Gi"}}}},
    {"pods": {"tolerations": [{"keys": "x"}]}},
    {"ingress": {"prefect": {"hosts": "x"}}},
    {"settings": {"leaseTTLSeconds": 3}},
    {"controller": {"extraVolumeMounts": [{"name": "x", "mountpath": "/x"}]}},
    {"api": {"extraEnvFrom": [{"secretref": {"name": "x"}}]}},
    {"runs": {"serviceAccount": {"annotation": {}}}},
    {"workers": {"loads": {"serviceAccount": {"name": "x"}}}},  # all workers have one
]
WRONG: list[dict[str, Any]] = [
    {"profile": "prod"},
    {"server": {"replicas": 0}},
    {"server": {"replicas": "2"}},
    {"controller": {"resources": {"limits": {"memory": "lots"}}}},
    {"image": {"digest": "latest"}},
    {"settings": {"maxPruneFraction": 2}},
    {"workPool": {"type": "docker"}},
    {"workPool": {"queueLimit": 0}},
    # A pod of the restricted standard is refused with it, at the first start and not before.
    {"server": {"extraVolumes": [{"name": "x", "hostPath": {"path": "/"}}]}},
    {"workers": {"Loads": {}}},
    {"server": {"service": {"port": 99999}}},
    {"ingress": {"prefect": {"host": "https://x"}}},
]


@pytest.mark.parametrize("values", MISTYPED + WRONG, ids=str)
def test_what_is_mistyped_or_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        render(values)


def test_a_parent_chart_may_pass_global_values() -> None:
    render({"global": {"imageRegistry": "registry.example"}})


def test_a_worker_may_be_added_with_what_differs() -> None:
    values = laid(PRODUCTION, {"workers": {"heavy": {"queues": ["heavy"]}}})
    before = copy.deepcopy(values)
    names = {item["metadata"]["name"] for item in render(values)}
    assert "clinical-ai-prefect-worker-heavy" in names
    assert values == before
