"""The reference of the REST API, docs/api.md, made from what the API says of itself.

`python -m api.reference > docs/api.md` makes it. Generated, so that it cannot tell of a field that is not
there; a test fails while the file and the API differ.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from api.app import create_app
from api.routes import MEANINGS
from api.sources.asking import looks_of
from connectors.limits.ids import LARGEST_ID
from connectors.refusals import plain
from prefect_api.run_queries import open_runs
from settings import Settings

Schema = Mapping[str, Any]

HEAD = """\
# REST API

<!-- Made by `python -m api.reference > docs/api.md`: change the code, not this file. -->

JSON in camelCase. What stands *inside* `source`, `destination` and `runPolicy` is the connector's own JSON, exactly as
the table holds it: snake_case, and explained kind by kind in [sources.md](sources.md). Unknown keys are refused with
422. What stands in parentheses behind a type below bounds a number, or the characters of a string. The machine-readable
form of this page is `GET /openapi.json`.

**Tokens.** With `CAI_API_TOKEN` set (several, comma separated), every address below `/api` needs the header
`Authorization: Bearer <token>`, with one of these or one that was made at `/api/v1/tokens`. With none set, the API
binds loopback only and answers no page of another site. Who may do what: [access.md](access.md). Another team's
connector is a 404, as if it were not there; a role that is too low is a 403.

**Lost updates.** Every answer with one connector carries its `ETag`, the row's generation. Send it back as `If-Match`,
and a change that somebody else made in between is a 412 instead of being overwritten. The header is optional. Where a
row was changed with the table's triggers off, which moves no generation, the ETag has a hash of the row behind it.

**Errors** are `application/problem+json` (RFC 9457): `detail` is a sentence for a person, `errors` names each field by
its JSON pointer. `type` is `about:blank` for what HTTP itself says, else one of `urn:problem-type:clinical-ai:` with
`no-such-connector`, `name-taken`, `not-runnable`, `stale`, `invalid-connector`, `invalid-request`,
`prefect-unavailable`, `database-unavailable`, `row-locked`, `constraint`, `forbidden`, `no-such-token`,
`no-such-credential`, `no-such-protection`, `no-such-load`.

**Sent again.** A refusal below 500 has changed nothing. After a 5xx, or without an answer, the request may have been
done all the same, and can be sent again: a change leaves the same behind (or is a 412, by its `If-Match`), a connector
that was created is a 409 by its name, one that was deleted a 404, and one `Idempotency-Key` starts one run.

**Without Prefect** all of this works but starting a run, listing runs, and Prefect's part of a connector's status.

    curl -X POST http://127.0.0.1:8080/api/v1/connectors -H 'Content-Type: application/json' -d '{
      "name": "Customer Data Pipeline", "schedule": "0 */4 * * *", "isActive": true,
      "source": {"type": "fhir", "base_url": "http://127.0.0.1:9000/fhir"}}'
"""


def current() -> str:
    """docs/api.md as it must be."""
    settings = Settings()
    looks = looks_of(settings)
    return reference(create_app(settings, open_runs, looks.reach, looks.discovered).openapi())


def reference(openapi: Schema) -> str:
    """docs/api.md as Markdown, from the API's OpenAPI."""
    return "\n".join([HEAD, *_meanings(), *_operations(openapi), *_schemas(openapi)]).rstrip() + "\n"


def _operations(openapi: Schema) -> Iterator[str]:
    tags: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            lines = tags.setdefault(operation["tags"][0], [])
            lines += [f"### {method.upper()} {path}", "", operation["description"], "", *_operation(operation)]
    for tag, lines in tags.items():
        yield from [f"## {tag.capitalize()}", "", *lines]


def _operation(operation: Schema) -> Iterator[str]:
    parameters = operation.get("parameters", ())
    if parameters:
        yield from ["| parameter | in | type | |", "|---|---|---|---|"]
        for each in parameters:
            about = _about(each["schema"], each.get("description", ""))
            yield f"| `{each['name']}` | {each['in']} | {_kind(each['schema'])} | {about} |"
        yield ""
    if body := operation.get("requestBody"):
        yield from [f"Body: {_content(body)}", ""]
    refusals = [status for status in sorted(operation["responses"]) if status >= "400"]
    for status, answer in operation["responses"].items():
        if status not in refusals:
            body = f" with {_content(answer)}" if "content" in answer else ""
            headers = ", ".join(f"`{name}`" for name in answer.get("headers", ()))
            yield f"Answers {status}{body}{f' and the headers {headers}' if headers else ''}."
    if refusals:
        yield f"Refuses with {', '.join(refusals)}."
    yield ""


def _meanings() -> Iterator[str]:
    """What each refusal means: the same on every route."""
    yield from ["| refusal | |", "|---|---|"]
    yield from (f"| {status} | {meaning} |" for status, meaning in MEANINGS.items())
    yield ""


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _content(message: Schema) -> str:
    """What a request or an answer holds: the type of its JSON, or else its media type."""
    media_type, content = next(iter(message["content"].items()))
    return _kind(content.get("schema", {})) if media_type.endswith("json") else f"`{media_type}`"


def _schemas(openapi: Schema) -> Iterator[str]:
    yield from ["## Bodies", ""]
    for name, schema in openapi["components"]["schemas"].items():
        yield from [f"### {name}", "", schema.get("description", "").replace("\n", " "), ""]
        if "enum" in schema:
            yield from [", ".join(f"`{value}`" for value in schema["enum"]) + ".", ""]
        if fields := schema.get("properties"):
            required = schema.get("required", ())
            yield from ["| field | type | |", "|---|---|---|"]
            for field, about in fields.items():
                must = "**required**" if field in required else ""
                yield f"| `{field}` | {_kind(about)} | {_about(about, about.get('description', ''), must)} |"
            yield ""


def _about(schema: Schema, description: str, *more: str) -> str:
    value = schema.get("default")
    default = f"Default: `{value if isinstance(value, str) else json.dumps(value)}`." if value is not None else ""
    return " ".join(filter(None, [*more, _sentence(description) if description else "", default])).replace("|", "\\|")


def _kind(schema: Schema) -> str:
    """A schema's type, as short as it can be said."""
    if "$ref" in schema or "properties" in schema:  # a model that stands in another one whole has its name as title
        name = schema.get("$ref", schema.get("title", "")).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(_kind(member) for member in schema[union])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format", schema.get("type", "any JSON"))) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    """The smallest and the largest that a number, or a text's number of characters, may be."""
    low = plain(schema.get("minimum", schema.get("minLength")))
    high = plain(schema.get("maximum", schema.get("maxLength", LARGEST_ID)))
    parts = [] if low is None else [f"from {low}"]
    parts += [f"above {plain(schema['exclusiveMinimum'])}"] if "exclusiveMinimum" in schema else []
    parts += [f"to {high}"] if high < LARGEST_ID else []
    return f" ({' '.join(parts)})" if parts else ""


if __name__ == "__main__":
    sys.stdout.write(current())
