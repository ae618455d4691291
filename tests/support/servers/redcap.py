"""REDCap: a server that follows the API's documented form fields and errors."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from tests.support.servers.http_server import Answer, Asked

TOKEN = "9A81268476645C4E5F03428B8AC3AA7B"


METADATA = [
    {"field_name": "study_id", "form_name": "demographics", "field_type": "text"},
    {"field_name": "weight", "form_name": "demographics", "field_type": "text"},
]


class Redcap:
    """Answers as `api/` of REDCap does: 403 without a good token, 400 for what it doesn't know.

    It notes changes, sends whole records, and compares with a date range, by the clock on its own wall: `zone` hours
    from Greenwich.
    """

    def __init__(self, zone: float = 0) -> None:
        self.zone = timedelta(hours=zone)
        self.records = [
            {"study_id": str(number), "redcap_event_name": event, "weight": str(50 + number)}
            for number in range(1, 21)
            for event in ("baseline_arm_1", "week_4_arm_1")
        ]
        self.changed = dict.fromkeys(map(id, self.records), datetime(2024, 1, 1, tzinfo=UTC))
        self.forms: list[dict[str, str]] = []

    def __call__(self, asked: Asked) -> Any:
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        self.forms.append(form)
        assert asked.method == "POST"
        if form.get("token") != TOKEN:
            return Answer({"error": f"You do not have permissions to use the API: {form.get('token')}"}, 403)
        match form["content"]:
            case "metadata":
                return METADATA
            case "record" if form["type"] == "flat":
                return self._exported(form)
            case "event":
                return [{"event_name": "Baseline", "unique_event_name": "baseline_arm_1"}]
        return Answer({"error": 'The value of the parameter "content" is not valid'}, 400)

    def _exported(self, form: dict[str, str]) -> Any:
        """Rows of whole records: those of which any row has changed in the time, or that are asked for."""
        begin, end = form.get("dateRangeBegin", ""), form.get("dateRangeEnd", "9")
        changed = {record["study_id"] for record in self.records if begin < self._wall(record) < end}
        chosen = {value for key, value in form.items() if key.startswith("records[")} or changed
        return [record for record in self.records if record["study_id"] in changed & chosen]

    def change(self, number: int, at: datetime, **values: str) -> None:
        """Somebody changes a record."""
        self.records[number] |= values
        self.changed[id(self.records[number])] = at

    def _wall(self, record: dict[str, str]) -> str:
        return f"{self.changed[id(record)] + self.zone:%Y-%m-%d %H:%M:%S}"
