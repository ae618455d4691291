"""Types of three databases, with random values of each at the edges of what it holds."""

import math
import random
import string
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

Random = random.Random


class Family(StrEnum):
    """What values of a type are, and so how two of them are compared."""

    NUMBER = "number"
    DOUBLE = "double"
    MOMENT = "moment"
    TEXT = "text"
    TRUTH = "truth"
    BYTES = "bytes"
    JSON = "json"
    ANY = "any"
    """Of whatever class a value is: SQLite."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of a database."""

    declared: str
    family: Family
    value: Callable[[Random], Any]
    """A random value, as SQL; of SQLite, as the driver takes it."""
    asked: str = "{}"
    """How the source is asked for the value as text."""


def quote(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def _one_of(*values: str) -> Callable[[Random], str]:
    return lambda rng: rng.choice(values)


def _whole(bits: int, *, signed: bool = True) -> Callable[[Random], str]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    def value(rng: Random) -> str:
        return str(rng.choice([low, high, 0, 1, max(low, -1), rng.randint(low, high), rng.randint(0, min(high, 99))]))

    return value


def digits(rng: Random, precision: int, scale: int) -> str:
    """A decimal of at most so many digits."""
    whole = rng.randint(0, max(precision - scale, 0))
    left = "".join(rng.choices(string.digits, k=whole)).lstrip("0") or "0"
    right = "".join(rng.choices(string.digits, k=rng.randint(0, scale)))
    sign = rng.choice(["", "-"])
    return f"{sign}{left}.{right}" if right else f"{sign}{left}"


def _decimal(precision: int, scale: int, *more: str) -> Callable[[Random], str]:
    return lambda rng: rng.choice([*more, digits(rng, precision, scale), digits(rng, precision, scale), "0"])


def _double(rng: Random) -> float:
    while True:
        (value,) = struct.unpack("d", rng.randbytes(8))
        number = rng.choice([value, rng.uniform(-1, 1), float(rng.randint(-(2**53), 2**53)), 0.1, 1e308, 5e-324])
        if math.isfinite(number):
            return float(number)


def _single(rng: Random) -> float:
    (number,) = struct.unpack("f", struct.pack("f", rng.choice([rng.uniform(-1e6, 1e6), 1234567.0, 0.1, 1e-30, 3e38])))
    return float(number)


ALPHABET = "aZ09 _-'\"\\%é日🩺ß,;\t\n{}[]"


def text(rng: Random, longest: int = 12) -> str:
    """A text of odd characters, or one that looks like something else."""
    looks = ["", " ", "1", "1.50", "007", "true", "null", "NaN", "2024-01-01", "{}", "<5", "1e5"]
    made = "".join(rng.choices(ALPHABET, k=rng.randint(0, longest)))
    return rng.choice([made, made, rng.choice(looks)])[:longest]


def day(rng: Random, first: int = 1, last: int = 9999) -> str:
    """A day of these years."""
    edges = [date(first, 1, 1), date(last, 12, 31), date(1970, 1, 1), date(2000, 2, 29), date(1900, 3, 1)]
    span = date(last, 12, 31).toordinal() - date(first, 1, 1).toordinal()
    return rng.choice([*edges, date(first, 1, 1) + timedelta(days=rng.randint(0, span))]).isoformat()


def clock(rng: Random, fraction: int = 6) -> str:
    """A time of a day."""
    seconds = rng.choice([0, 86_399, rng.randint(0, 86_399)])
    micro = rng.choice([0, 999_999, 500_000, rng.randint(0, 999_999)])
    part = f"{micro:06}"[:fraction]
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{part}" if fraction else "")


def _quoted(*makers: Callable[[Random], str]) -> Callable[[Random], str]:
    return lambda rng: quote(rng.choice(makers)(rng))


def _moment(first: int = 1, last: int = 9999, fraction: int = 6) -> Callable[[Random], str]:
    return lambda rng: f"{day(rng, first, last)} {clock(rng, fraction)}"


def _json(rng: Random) -> str:
    return rng.choice(
        ['{"a": 1.50}', "[]", "{}", '"x"', "1e3", "null", "12345678901234567890", '{"é": ["日", null, true]}', "[1.0]"]
    )


def _hex(rng: Random, longest: int = 8) -> str:
    return rng.randbytes(rng.randint(0, longest)).hex()


FAR = ("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'10000-01-01'", "'4713-01-01 BC'")
_F = Family

POSTGRES = (
    Kind("boolean", _F.TRUTH, _one_of("true", "false")),
    Kind("smallint", _F.NUMBER, _whole(16)),
    Kind("int", _F.NUMBER, _whole(32)),
    Kind("bigint", _F.NUMBER, _whole(64)),
    Kind("age", _F.NUMBER, _whole(32)),
    Kind("real", _F.DOUBLE, lambda rng: rng.choice([f"'{_single(rng)!r}'", "'NaN'", "'-Infinity'"]), "{}::float8"),
    Kind("float8", _F.DOUBLE, lambda rng: rng.choice([f"'{_double(rng)!r}'"] * 4 + ["'NaN'", "'Infinity'"])),
    Kind(
        "numeric",
        _F.NUMBER,
        _decimal(40, 20, "4.5e-11", "1e30", "'NaN'", "'Infinity'", "'-Infinity'", "1e-300", "5.123456789012345"),
    ),
    Kind("numeric(10,2)", _F.NUMBER, _decimal(10, 2, "'NaN'", "99999999.99")),
    Kind("numeric(12,4)", _F.NUMBER, _decimal(12, 4)),
    Kind("numeric(15,0)", _F.NUMBER, _decimal(15, 0, "999999999999999")),
    Kind("numeric(30,10)", _F.NUMBER, _decimal(30, 10, "'NaN'")),
    Kind("numeric(38,38)", _F.NUMBER, _decimal(38, 38)),
    Kind("numeric(60,30)", _F.NUMBER, _decimal(60, 30)),
    Kind("numeric(5,-2)", _F.NUMBER, _one_of("100", "9999900", "0")),
    Kind("numeric(3,5)", _F.NUMBER, _one_of("0.00123", "-0.00999", "0")),
    Kind("money", _F.TEXT, _one_of("12.50", "-1000", "0")),
    Kind("text", _F.TEXT, _quoted(text)),
    Kind("varchar(20)", _F.TEXT, _quoted(text)),
    Kind("char(5)", _F.TEXT, _quoted(lambda rng: text(rng, 5)), "rpad({}::text, 5)"),
    Kind("name", _F.TEXT, _quoted(text)),
    Kind('"char"', _F.TEXT, _one_of("'a'", "'Z'", "' '")),
    Kind("bytea", _F.BYTES, lambda rng: f"'\\x{_hex(rng)}'", "encode({}, 'hex')"),
    Kind("date", _F.MOMENT, lambda rng: rng.choice([quote(day(rng))] * 3 + list(FAR))),
    Kind("timestamp", _F.MOMENT, lambda rng: rng.choice([quote(_moment()(rng))] * 5 + list(FAR))),
    Kind("timestamp(0)", _F.MOMENT, _quoted(_moment(fraction=0))),
    Kind(
        "timestamptz",
        _F.MOMENT,
        lambda rng: rng.choice([quote(_moment(2, 9998)(rng) + "+02")] * 5 + [*FAR, "'9999-12-31 23:59:59-05'"]),
    ),
    Kind("time", _F.MOMENT, _quoted(clock, lambda _: "24:00")),
    Kind("timetz", _F.TEXT, _quoted(lambda rng: clock(rng) + rng.choice(["+02", "-05:30", "+00"]))),
    Kind("interval", _F.TEXT, _one_of("'1 mon 2 days 3.5 s'", "'-1 year'", "'0'", "'infinity'")),
    Kind("uuid", _F.TEXT, lambda rng: quote(rng.randbytes(16).hex())),
    Kind("json", _F.JSON, _quoted(_json)),
    Kind("jsonb", _F.JSON, _quoted(_json)),
    Kind("inet", _F.TEXT, _one_of("'10.0.0.1'", "'10.0.0.0/8'", "'::1'")),
    Kind("cidr", _F.TEXT, _one_of("'10.0.0.0/8'")),
    Kind("interval year to month", _F.TEXT, _one_of("'14 mons'")),
    Kind("macaddr", _F.TEXT, _one_of("'08:00:2b:01:02:03'")),
    Kind("bit(3)", _F.TEXT, _one_of("B'101'", "B'000'")),
    Kind("varbit", _F.TEXT, _one_of("B'1'", "B'10101'", "B''")),
    Kind("oid", _F.TEXT, _one_of("0", "4294967295")),
    Kind("xid8", _F.TEXT, _one_of("'0'", "'18446744073709551615'")),
    Kind("int[]", _F.JSON, _one_of("'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'"), "to_jsonb({})"),
    Kind("text[]", _F.JSON, lambda rng: f"ARRAY[{quote(text(rng))}, NULL]", "to_jsonb({})"),
    Kind("numeric[]", _F.JSON, _one_of("'{1.50,NaN}'", "'{4.5e-11}'"), "to_jsonb({})"),
    Kind("timestamptz[]", _F.JSON, _one_of("'{infinity}'", "'{2024-01-01 00:00+02}'"), "to_jsonb({})"),
    Kind("bytea[]", _F.JSON, _one_of("ARRAY['\\x00ff'::bytea]"), "to_jsonb({})"),
    Kind("mood[]", _F.JSON, _one_of("'{calm,NULL}'"), "to_jsonb({})"),
    Kind("nummultirange", _F.TEXT, _one_of("'{[1.50,5)}'", "'{}'")),
    Kind("jsonpath", _F.TEXT, _one_of("'$.a'")),
    Kind("tid", _F.TEXT, _one_of("'(0,1)'")),
    Kind("int4range", _F.TEXT, _one_of("'[1,5)'", "'empty'", "'(,)'")),
    Kind("tsvector", _F.TEXT, _one_of("'a b'", "''")),
    Kind("point", _F.TEXT, _one_of("'(1,2)'", "'(0.1,-1e300)'")),
    Kind("pg_lsn", _F.TEXT, _one_of("'0/1'", "'FFFFFFFF/FFFFFFFF'")),
    Kind("mood", _F.TEXT, _one_of("'calm'", "'tense'")),
    Kind("pair", _F.TEXT, _one_of("ROW(1,'x')", "ROW(NULL,'a b')")),
)

POSTGRES_KEYS = (
    Kind("text", _F.TEXT, _quoted(text)),
    Kind("varchar(20)", _F.TEXT, _quoted(text)),
    Kind("char(5)", _F.TEXT, _quoted(lambda rng: text(rng, 5)), "rpad({}::text, 5)"),
    Kind("bigint", _F.NUMBER, _whole(64)),
    Kind("numeric(30,10)", _F.NUMBER, _decimal(30, 10)),
    Kind("numeric(30,0)", _F.NUMBER, _one_of("123456789012345678901", "123456789012345678902", "0", "-1")),
    Kind("uuid", _F.TEXT, lambda rng: quote(rng.randbytes(16).hex())),
    Kind("date", _F.MOMENT, _quoted(day)),
    Kind("timestamptz", _F.MOMENT, _quoted(_moment(2, 9998))),
    Kind("boolean", _F.TRUTH, _one_of("true", "false")),
    Kind("mood", _F.TEXT, _one_of("'calm'", "'tense'")),
)

POSTGRES_TYPES = (
    "CREATE DOMAIN age AS int; CREATE TYPE mood AS ENUM ('calm', 'tense'); CREATE TYPE pair AS (a int, b text)"
)

POSTGRES_WIDER = {
    "smallint": ("int", "bigint"),
    "int": ("bigint", "numeric", "float8", "text"),
    "bigint": ("numeric(30,10)", "numeric"),
    "numeric(10,2)": ("numeric(12,4)", "numeric(30,10)", "numeric", "text"),
    "numeric(12,4)": ("numeric(30,10)", "numeric(60,30)"),
    "date": ("timestamp", "timestamptz"),
    "varchar(20)": ("text",),
    "real": ("float8",),
    "timestamp(0)": ("timestamp",),
    "boolean": ("text",),
}
"""What `ALTER COLUMN TYPE` makes of a type without any loss."""

MYSQL = (
    Kind("tinyint", _F.NUMBER, _whole(8)),
    Kind("boolean", _F.NUMBER, _one_of("0", "1", "2")),
    Kind("smallint unsigned", _F.NUMBER, _whole(16, signed=False)),
    Kind("mediumint", _F.NUMBER, _whole(24)),
    Kind("int", _F.NUMBER, _whole(32)),
    Kind("int unsigned", _F.NUMBER, _whole(32, signed=False)),
    Kind("bigint", _F.NUMBER, _whole(64)),
    Kind("bigint unsigned", _F.NUMBER, _whole(64, signed=False)),
    Kind("decimal(10,2)", _F.NUMBER, _decimal(10, 2)),
    Kind("decimal(38,10)", _F.NUMBER, _decimal(38, 10)),
    Kind("decimal(65,30)", _F.NUMBER, _decimal(65, 30)),
    Kind("float", _F.DOUBLE, lambda rng: repr(_single(rng)), "{} * 1e0"),
    Kind("double", _F.DOUBLE, lambda rng: repr(_double(rng))),
    Kind("bit(8)", _F.NUMBER, _whole(8, signed=False), "{} + 0"),
    Kind("bit(64)", _F.NUMBER, _whole(64, signed=False), "{} + 0"),
    Kind("date", _F.MOMENT, _quoted(day, lambda rng: rng.choice(["0000-00-00", "2024-00-15", "2024-02-00"]))),
    Kind("datetime", _F.MOMENT, _quoted(_moment(fraction=0), lambda _: "0000-00-00 00:00:00")),
    Kind("datetime(6)", _F.MOMENT, _quoted(_moment())),
    Kind("timestamp(6) NULL", _F.MOMENT, _quoted(_moment(1971, 2037))),
    Kind("time", _F.TEXT, _one_of("'-838:59:59'", "'838:59:59'", "'10:00:00'", "'0'")),
    Kind("time(3)", _F.TEXT, _one_of("'-25:00:00.25'", "'10:00:00.001'")),
    Kind("year", _F.NUMBER, _one_of("1901", "2155", "0")),
    Kind("char(5)", _F.TEXT, _quoted(lambda rng: text(rng, 5))),
    Kind("varchar(50)", _F.TEXT, _quoted(text)),
    Kind("varchar(50) CHARACTER SET latin1", _F.TEXT, _one_of("'Müller'", "''", "'a''b'")),
    Kind("longtext", _F.TEXT, _quoted(text)),
    Kind("binary(4)", _F.BYTES, lambda rng: f"x'{_hex(rng, 4)}'", "hex({})"),
    Kind("varbinary(10)", _F.BYTES, lambda rng: f"x'{_hex(rng)}'", "hex({})"),
    Kind("blob", _F.BYTES, lambda rng: f"x'{_hex(rng)}'", "hex({})"),
    Kind("enum('a','b')", _F.TEXT, _one_of("'a'", "'b'")),
    Kind("set('x','y')", _F.TEXT, _one_of("'x'", "'x,y'", "''")),
    Kind("json", _F.JSON, _quoted(_json)),
    Kind("uuid", _F.TEXT, lambda rng: quote(rng.randbytes(16).hex())),
    Kind("point", _F.TEXT, _one_of("ST_PointFromText('POINT(0.1 -1e300)')"), "ST_AsText({})"),
    Kind("geometry", _F.TEXT, _one_of("ST_GeomFromText('LINESTRING(0 0, 1.5 1)')"), "ST_AsText({})"),
    Kind("inet4", _F.TEXT, _one_of("'10.0.0.1'")),
    Kind("inet6", _F.TEXT, _one_of("'::1'", "'10.0.0.1'")),
)

MYSQL_KEYS = (
    Kind("varchar(50)", _F.TEXT, _quoted(text)),
    Kind("bigint unsigned", _F.NUMBER, _whole(64, signed=False)),
    Kind("decimal(38,10)", _F.NUMBER, _decimal(38, 10)),
    Kind("date", _F.MOMENT, _quoted(day)),
    Kind("datetime(6)", _F.MOMENT, _quoted(_moment())),
    Kind("enum('a','b')", _F.TEXT, _one_of("'a'", "'b'")),
)

MYSQL_WIDER = {
    "tinyint": ("int", "bigint", "decimal(10,2)"),
    "int": ("bigint", "decimal(38,10)"),
    "int unsigned": ("bigint unsigned",),
    "bigint": ("decimal(38,10)", "decimal(65,30)"),
    "decimal(10,2)": ("decimal(38,10)",),
    "char(5)": ("varchar(50)",),
    "varchar(50)": ("longtext",),
    "float": ("double",),
    "datetime": ("datetime(6)",),
}


def _anything(rng: Random) -> Any:
    return rng.choice(
        [
            rng.choice([0, 1, -(2**63), 2**63 - 1, 1_700_000_000, rng.randint(-(2**40), 2**40)]),
            rng.choice([0.1, 12.345, 7.0, _double(rng)]),
            text(rng),
            rng.choice([day(rng), f"{day(rng)} {clock(rng)}", f"{day(rng)}T{clock(rng)}", clock(rng), "1_000"]),
            rng.randbytes(rng.randint(0, 5)),
        ]
    )


def _mostly(maker: Callable[[Random], Any]) -> Callable[[Random], Any]:
    return lambda rng: maker(rng) if rng.random() < 0.8 else _anything(rng)


def _of_sqlite(declared: str, maker: Callable[[Random], Any]) -> Kind:
    return Kind(declared, _F.ANY, _mostly(maker))


SQLITE = (
    _of_sqlite("integer", lambda rng: int(_whole(64)(rng))),
    _of_sqlite("bigint", lambda rng: int(_whole(64)(rng))),
    _of_sqlite("real", _double),
    _of_sqlite("double precision", _double),
    _of_sqlite("text", text),
    _of_sqlite("varchar(20)", text),
    _of_sqlite("blob", lambda rng: rng.randbytes(rng.randint(0, 8))),
    _of_sqlite("numeric", lambda rng: digits(rng, 15, 5)),
    _of_sqlite("decimal(10,2)", lambda rng: digits(rng, 10, 2)),
    _of_sqlite("boolean", lambda rng: rng.randint(0, 1)),
    _of_sqlite("date", day),
    _of_sqlite("datetime", _moment()),
    _of_sqlite("timestamp", _moment()),
    _of_sqlite("time", clock),
    _of_sqlite("json", _json),
    _of_sqlite("", _anything),
)

SQLITE_KEYS = (
    Kind("integer", _F.ANY, lambda rng: int(_whole(64)(rng))),
    Kind("text", _F.ANY, text),
)
