"""The routes of `/api/v1/sources`: a look at a source before anything of it is saved."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api.answers import ProbeAnswer
from api.bodies import Body, Input
from api.routes import SIGNED_IN, Tester, WithReason, needs, problems, tester_of
from connectors.discovery import Discovery, Item, ItemKind
from connectors.people import Act
from use_cases.sources import Sources

router = APIRouter(prefix="/api/v1", dependencies=[SIGNED_IN], responses=problems(401, 403, 422, 500, 503))

TEAM = "Whose credentials it may name; null: those of your own team."
SOURCE = "The JSON of a source, as a connector has it. What it would load may be left out."


class DiscoverInput(Input):
    """A source whose tables, types, forms or files are asked for."""

    source: Annotated[dict[str, Any], Field(description=SOURCE)]
    team: Annotated[str | None, Field(description=TEAM)] = None
    cursor: Annotated[str | None, Field(description="Of the page before; null: the first one.", max_length=1000)] = None


class ColumnAnswer(Body):
    """One column or field."""

    name: Annotated[str, Field(description="Its name in the source.")]
    type: Annotated[str, Field(description="Its type, in the source's own words.")]
    nullable: Annotated[bool, Field(description="Whether a row may lack it.")]
    identifying: Annotated[
        bool, Field(description="Whether it may tell who a person is: by its name, or as the source itself says.")
    ]
    protection: Annotated[
        str | None,
        Field(
            description="What becomes of it by the source's `protect`, as far as its name and type tell: a method, `in "
            "part`, or `drop`; null: it lands as it is."
        ),
    ]


class ItemAnswer(Body):
    """One table, type, form or file. No value of a row is in it."""

    name: Annotated[str, Field(description="Its name in the source.")]
    kind: Annotated[ItemKind, Field(description="What it is.")]
    rows: Annotated[int | None, Field(description="About how many rows it has; null: not known.")]
    columns: Annotated[list[ColumnAnswer], Field(description="Its columns, in the source's order.")]
    primary_key: Annotated[list[str], Field(description="The columns of its key, from the source's own constraints.")]
    cursor_candidates: Annotated[
        list[str], Field(description="Columns that seem to grow with each change, the likeliest first.")
    ]

    @classmethod
    def of(cls, item: Item) -> "ItemAnswer":
        """An item as it is answered."""
        return cls(
            name=item.name,
            kind=item.kind,
            rows=item.rows,
            columns=[
                ColumnAnswer(
                    name=each.name,
                    type=each.type,
                    nullable=each.nullable,
                    identifying=each.identifying,
                    protection=each.protection,
                )
                for each in item.columns
            ],
            primary_key=list(item.primary_key),
            cursor_candidates=list(item.cursor_candidates),
        )


class DiscoverAnswer(Body):
    """A page of what a source has."""

    items: Annotated[list[ItemAnswer], Field(description="Tables, views, types, forms or files.")]
    cursor: Annotated[str | None, Field(description="Asks for the next page; null: that was all.")]

    @classmethod
    def of(cls, found: Discovery) -> "DiscoverAnswer":
        """A page as it is answered."""
        return cls(items=[ItemAnswer.of(item) for item in found.items], cursor=found.cursor)


class TestInput(Input):
    """A source that is tried out."""

    __test__ = False  # no test of pytest's
    source: Annotated[dict[str, Any], Field(description="The JSON of a source, as a connector has it.")]
    destination: Annotated[
        dict[str, Any] | None,
        Field(description="The JSON of a destination, as a connector has it; null: the platform's own."),
    ] = None
    team: Annotated[str | None, Field(description=TEAM)] = None


def _sources(request: Request) -> Sources:
    return cast(Sources, request.app.state.sources)


@router.post(
    "/sources/discover",
    tags=["sources"],
    dependencies=[needs(Act.CHANGE)],
    responses=problems(400, 413, 415, 502),
)
async def discover_source(
    body: DiscoverInput, person: WithReason, sources: Annotated[Sources, Depends(_sources)]
) -> DiscoverAnswer:
    """Ask a source what it has, before a connector of it is saved: no value of a row is read."""
    return DiscoverAnswer.of(await sources.discover(body.source, person, body.cursor, body.team))


@router.post("/sources/test", tags=["sources"], dependencies=[needs(Act.CHANGE)], responses=problems(400, 413, 415))
async def test_source(
    body: TestInput,
    person: WithReason,
    sources: Annotated[Sources, Depends(_sources)],
    tester: Annotated[Tester, Depends(tester_of)],
) -> ProbeAnswer:
    """Try a source that is not saved yet: its first rows as they would land, masked, and whether they could land.

    Nothing is loaded, and nothing stays in the destination.
    """
    row = await sources.to_test(body.source, person, body.team, body.destination)
    return await tester(row, both=True)
