"""The example of docs/sources.md for a new kind does what it says."""

import re
import sys
import types
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter

import connectors.sources.kinds
from connectors import connector as models
from connectors.sources.write_rules import AnySource
from settings import ROOT
from tests.pipelines.conftest import Platform


def test_a_new_kind_is_a_shape_and_a_reader(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, reader = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sources.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"AnySource": AnySource, "Literal": Literal, "Annotated": Annotated, "Field": Field}
    exec(shape, names)
    kind = names["ClosedDaysSource"]
    monkeypatch.setattr(connectors.sources.kinds, "ClosedDaysSource", kind, raising=False)
    monkeypatch.setattr(models, "_SOURCE", TypeAdapter(kind))
    module = types.ModuleType("pipelines.sources.closed_days")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(reader, module.__dict__)
    connector = platform.add({"type": "closed_days", "year": 2024})
    assert platform.run(connector).rows == {"closed_days": 52}
    assert platform.run(connector).rows == {"closed_days": 52}
    assert platform.duck(f"SELECT count(*), min(day)::text FROM connector_{connector}.closed_days") == [
        (52, "2024-01-07")
    ]
