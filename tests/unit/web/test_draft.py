"""Drafts travel in the page, and ticked items become what the connector says."""

from connectors.discovery import Column, Item, ItemKind
from web.draft import Draft, offers, picked

VISIT = Item(
    "visit",
    ItemKind.TABLE,
    (Column("id", "bigint"), Column("name", "text", identifying=True), Column("updated_at", "timestamptz")),
    primary_key=("id",),
    cursor_candidates=("updated_at", "id"),
)


def test_a_draft_comes_back_as_it_was_written() -> None:
    draft = Draft({"type": "fhir", "base_url": "https://x"}, {"type": "duckdb"}, {"name": "a", "schedule": None})
    assert Draft.read(draft.written()) == draft
    assert Draft.read("{") == Draft() == Draft.read("[1]")


def test_a_fresh_item_is_offered_with_key_cursor_and_hashes() -> None:
    (offer,) = offers([VISIT], Draft({"type": "sql_database"}))
    assert not offer.ticked
    assert (offer.primary_key, offer.cursor_column, offer.masked, offer.left_out) == (
        "id",
        "updated_at",
        frozenset({"name"}),
        frozenset(),
    )


def test_ticked_columns_are_the_table_and_all_of_them_are_no_choice() -> None:
    sent = {"item.0": "visit", "item.0.key": "id", "item.0.cursor": "updated_at", "item.0.all": "3"}
    every = {"item.0.in.0": "id", "item.0.in.1": "name", "item.0.in.2": "updated_at", "item.0.mask.1": "name"}
    assert picked(sent | every) == (
        [{"name": "visit", "primary_key": ["id"], "cursor_column": "updated_at", "columns": []}],
        ["name"],
    )
    some = {"item.0.in.0": "id", "item.0.in.2": "updated_at", "item.0.mask.1": "name"}
    items, mask = picked(sent | some)
    assert (items[0]["columns"], mask) == (["id", "updated_at"], [])


def test_what_was_picked_is_offered_again() -> None:
    draft = Draft({"type": "sql_database"}).with_items(
        [{"name": "visit", "primary_key": ["id"], "cursor_column": "", "columns": ["id", "name"]}], ["name"]
    )
    (offer,) = offers([VISIT], draft)
    assert offer.ticked
    assert (offer.cursor_column, offer.left_out, offer.masked) == ("", frozenset({"updated_at"}), frozenset({"name"}))
    assert Draft.read(draft.written()) == draft


def test_an_item_that_is_not_ticked_is_not_loaded() -> None:
    assert picked({"item.0.key": "id", "item.0.all": "3", "item.0.in.0": "id"}) == ([], [])
