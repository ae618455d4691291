"""Canaries of the eighteen classes of the Safe Harbor, and a rig that looks for them wherever a run leaves anything."""

import base64
import contextlib
import logging
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet

from connectors.connector import RunPolicy
from connectors.runs import Options
from pipelines.errors import ConfigurationError, RunError, Step
from pipelines.host import Listeners, PlainHost
from pipelines.load_history import Told
from pipelines.run import run_connector
from tests.support.data_plane.platform import Platform

CANARIES = {
    "patient_name": "Quillfeather",  # (A)
    "street_address": "77 Larkspur Lane",  # (B)
    "city": "Oxbowville",
    "zip_code": "94563",
    "birth_date": "1961-07-23",  # (C)
    "admitted": "2019-03-14",
    "phone": "206-555-0177",  # (D)
    "fax": "206-555-0178",  # (E)
    "email": "quill@feather.example",  # (F)
    "ssn": "219-09-9999",  # (G)
    "mrn": "MRN-5550123",  # (H)
    "health_plan_number": "HPB-7770456",  # (I)
    "account_number": "ACC-8880789",  # (J)
    "license_number": "LIC-9990321",  # (K)
    "license_plate": "XKCD-936",  # (L)
    "device_serial": "SN-4440987",  # (M)
    "homepage": "https://quillfeather.example/me",  # (N)
    "ip_address": "203.0.113.77",  # (O)
    "fingerprint": "FP-AAEC0FFEE",  # (P)
    "photo": "aGFsbG8tUGhvdG8=",  # (Q)
    "study_code_id": "STUDY-31337",  # (R)
}
"""A value of each class, under a name as clinics give them."""

SEEN = ", ".join(CANARIES.values())
ROW: dict[str, Any] = {
    "visit_id": "1",
    **CANARIES,
    "free_text": f"Seen: {SEEN}",
    "reached": f"by {CANARIES['email']}",
    "icd": "I10",
}
COLUMNS = ", ".join(f"{name} text" for name in ROW if name not in {"visit_id", "birth_date", "admitted"})


def found_in(text: str) -> list[str]:
    """The canaries in a text, numbers and dates also without what stands between their digits.

    One that is all digits does not count inside a longer number or hash: five of them in a row are in every megabyte
    of ids, hashes and times.
    """
    text = text.lower()
    return [canary for canary in CANARIES.values() if any(_stands(form, text) for form in _forms(canary))]


def _forms(canary: str) -> set[str]:
    return {canary.lower(), canary.lower().replace("-", "")}


def _stands(form: str, text: str) -> bool:
    if not form.replace("-", "").isdigit():
        return form in text
    return form in text and re.search(rf"(?<![0-9a-f.]){re.escape(form)}(?![0-9a-f])", text) is not None


def text_of(path: Path) -> str:
    """What a file says: Parquet is packed, so its rows are read."""
    with contextlib.suppress(FileNotFoundError):
        if path.suffix == ".parquet":
            return str(pyarrow.parquet.read_table(path).to_pylist())
        return path.read_bytes().decode("latin-1")
    return ""


def unpacked(text: str) -> str:
    """What the state of a pipeline says, which dlt packs."""
    with contextlib.suppress(ValueError, zlib.error):
        return zlib.decompress(base64.b64decode(text, validate=True)).decode()
    return text


def dumped(query: Callable[[str], list[tuple[Any, ...]]], schemas: str) -> str:
    """All rows of all tables of a database."""
    tables = query(f"SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema {schemas}")
    rows = [row for schema, name in tables for row in query(f'SELECT * FROM "{schema}"."{name}"')]
    return " ".join(unpacked(str(value)) for row in rows for value in row)


class Watching(PlainHost):
    """Looks at every file of the platform before and after each step, and may fail after one."""

    def __init__(self, directory: Path, fails: Step | None = None) -> None:
        super().__init__()
        self.directory, self.fails = directory, fails
        self.seen: list[tuple[Path, list[str]]] = []
        self.files = 0
        self.extracted = False

    def in_step(self, step: Step, policy: RunPolicy, work: Callable[[], None]) -> None:
        work()
        self.extracted |= step is Step.EXTRACT
        self.look()
        if step is self.fails:
            raise ConfigurationError("The step was planned to fail.")

    def look(self) -> None:
        for path in self.directory.rglob("*"):
            if path.is_file() and path.parent.name != "inbox":
                self.files += path.suffix == ".parquet"
                if there := found_in(text_of(path)):
                    self.seen.append((path, there))


class Rig:
    """One platform, and everything that a run of it says or leaves."""

    def __init__(self, platform: Platform, directory: Path, caplog: Any, capfd: Any) -> None:
        self.platform, self.directory, self.caplog, self.capfd = platform, directory, caplog, capfd
        for name in ("prefect.pipelines", "dlt"):
            caplog.set_level(logging.DEBUG, name)

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.platform.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def run(self, connector: int, fails: Step | None = None, options: Options | None = None) -> str:
        """Run a connector, look everywhere, and give its sentence."""
        told: list[Told] = []
        host = Watching(self.directory, fails)
        try:
            outcome: Any = run_connector(
                connector, options or Options(), self.platform.settings, host, Listeners(tell=told.append)
            )
            said = f"{outcome!r} {outcome.sentence} {outcome.markdown}"
        except RunError as error:
            outcome, said = error, f"{error!r} {error}"
        assert isinstance(outcome, RunError) == (fails is not None), said
        printed = self.capfd.readouterr()
        places = {
            "said": said, "event": repr(told), "log": self.caplog.text, "output": printed.out + printed.err,
            "platform": dumped(self._query, "= 'public'"), "files": str(host.seen),
        }  # fmt: skip
        places["destination"] = self.warehouse()
        assert {place: there for place, text in places.items() if (there := found_in(text))} == {}
        assert host.files or not host.extracted, "files on the disk were looked at"
        return said

    def warehouse(self) -> str:
        path = self.platform.settings.data_dir / "warehouse.duckdb"
        if not path.exists():
            return ""
        with duckdb.connect(str(path), read_only=True) as opened:
            return dumped(lambda statement: opened.execute(statement).fetchall(), "LIKE 'connector%'")
