"""The locks: what is tested is what runs."""

import re

from settings import ROOT


def versions(lock: str) -> dict[str, set[str]]:
    """The versions that a lock has of each package: several where they depend on the Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


def test_the_image_and_the_extra_have_the_versions_that_are_tested() -> None:
    tested = versions("requirements-dev.lock")
    image, extra = versions("requirements.lock"), versions("requirements-texts.lock")
    assert {"prefect", "dlt", "sqlalchemy"} <= image.keys()
    assert {name: found for name, found in image.items() if found != tested.get(name)} == {}
    assert {name: found for name, found in extra.items() if not found <= tested.get(name, found)} == {}
