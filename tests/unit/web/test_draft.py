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
        [
            {
                "name": "visit",
                "primary_key": ["id"],
                "cursor_column": "updated_at",
                "columns": [],
                "has": [],
                "left_out": [],
            }
        ],
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


def test_a_form_says_which_columns_it_leaves_out_and_shows_it_again() -> None:
    sent = {"item.0": "baseline", "item.0.all": "2", "item.0.in.0": "record_id", "item.0.mask.1": "nick"}
    sent |= {"item.0.has.0": "record_id", "item.0.has.1": "nick"}
    items, mask = picked(sent)
    assert (items[0]["left_out"], mask) == (["nick"], [])
    draft = Draft({"type": "redcap"}).with_items(items, mask)
    assert draft.source["protect"] == {"rules": [{"path": "nick", "method": "drop"}]}
    form = Item("baseline", ItemKind.FORM, (Column("record_id", "text"), Column("nick", "text", identifying=True)))
    (offer,) = offers([form], draft)
    assert (offer.ticked, offer.left_out) == (True, frozenset({"nick"}))


def test_files_are_offered_as_the_tables_that_they_become_and_shown_again_as_they_were_ticked() -> None:
    items = [
        Item(f"labs_{month}.csv", ItemKind.FILE, (Column("id", "number"), Column("email", "text", identifying=True)))
        for month in ("01", "02")
    ]
    (offer,) = offers(items, Draft({"type": "files", "url": "/in"}))
    assert (offer.ticked, offer.label, offer.masked) == (
        False,
        "labs_02.csv and another file like it",
        frozenset({"email"}),
    )
    sent = {"item.0": offer.item.name, "item.0.key": "id"}
    draft = Draft({"type": "files", "url": "/in", "encoding": "cp1252"}).with_items(*picked(sent))
    assert draft.columns()["source"]["tables"] == [
        {"table": "labs", "glob": "labs_[0-9]*.csv", "primary_key": ["id"], "encoding": "cp1252"}
    ]
    (again,) = offers(items, draft)
    assert (again.ticked, again.primary_key, again.masked) == (True, "id", frozenset())
    (only,) = offers(items[:1], Draft({"type": "files", "url": "/in/labs_01.csv"}))
    assert (only.ticked, only.masked) == (True, frozenset({"email"}))


def test_resources_take_the_key_that_was_proposed_and_keep_masks_that_no_look_has_shown() -> None:
    source = {"type": "rest_api", "resources": [{"name": "visits", "path": "v"}], "mask": ["ssn"]}
    columns = (Column("id", "number"), Column("email", "text", identifying=True))
    item = Item("visits", ItemKind.RESOURCE, columns, primary_key=("id",))
    (offer,) = offers([item], Draft({**source, "mask": []}))
    assert (offer.ticked, offer.primary_key, offer.masked) == (True, "id", frozenset({"email"}))
    sent = {"item.0": "visits", "item.0.key": "id", "item.0.all": "2", "item.0.in.0": "id", "item.0.in.1": "email"}
    sent |= {"item.0.has.0": "id", "item.0.has.1": "email", "item.0.mask.1": "email"}
    draft = Draft(source).with_items(*picked(sent))
    assert draft.source["resources"] == [{"name": "visits", "path": "v", "primary_key": ["id"]}]
    assert draft.source["mask"] == ["ssn", "email"]
    (again,) = offers([item], draft)
    assert (again.primary_key, again.masked) == ("id", frozenset({"email"}))


def test_an_item_that_is_not_ticked_is_not_loaded() -> None:
    assert picked({"item.0.key": "id", "item.0.all": "3", "item.0.in.0": "id"}) == ([], [])
