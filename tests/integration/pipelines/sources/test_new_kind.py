"""The example of docs/sources.md for a new kind does what it says."""

import re
import sys
import types
from typing import Annotated

import pytest
from pydantic import TypeAdapter

from connectors import connector as models
from connectors.sources.files import FilesSource
from connectors.sources.unions import ByType
from settings import ROOT
from tests.support.data_plane.platform import Platform


def test_a_new_kind_is_a_shape_and_a_reader(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, reader = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sources.md").read_text(), re.DOTALL)
    for name, code in (("connectors.sources.closed_days", shape), ("pipelines.sources.closed_days", reader)):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(code, module.__dict__)
    kind = sys.modules["connectors.sources.closed_days"].ClosedDaysSource
    union = Annotated[FilesSource | kind, ByType()]  # type: ignore[valid-type]
    monkeypatch.setattr(models, "_SOURCE", TypeAdapter(union))
    connector = platform.add({"type": "closed_days", "year": 2024})
    assert platform.run(connector).rows == {"closed_days": 52}
    assert platform.run(connector).rows == {"closed_days": 52}
    assert platform.duck(f"SELECT count(*), min(day)::text FROM connector_{connector}.closed_days") == [
        (52, "2024-01-07")
    ]
