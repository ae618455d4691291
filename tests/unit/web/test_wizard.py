"""What a step of the wizard says is not lost when another step is filled in again."""

from web.draft import Draft, Step
from web.pages.wizard import _taken


def test_what_is_to_be_loaded_stays_when_the_address_is_corrected() -> None:
    resources = [{"name": "visits", "path": "visits"}]
    draft = Draft({"type": "rest_api", "base_url": "https://old.example.org", "resources": resources, "mask": ["name"]})
    corrected = _taken(Step.LOGIN, draft, {"source.base_url": "https://new.example.org"})
    assert corrected.source == {
        "type": "rest_api",
        "base_url": "https://new.example.org",
        "resources": resources,
        "mask": ["name"],
    }
