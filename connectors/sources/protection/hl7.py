"""HL7 v2 under the shipped profiles: what of a segment lands, by the names of its columns. Pure.

A column of a segment is named by its place (`pid_5` is the patient's name), so no word in it tells what it holds, and a
sender may put anything into a segment of its own. So a profile says what is kept, and all else stays away: names,
addresses but state and ZIP code, telephones, numbers but those by which segments join, people who treat, relatives,
insurance, notes, and results that are no numbers. Source: HL7 version 2.8.2, chapters 2 to 7.
"""

from connectors.sources.protection.methods import Method
from connectors.sources.protection.rules import EVERY_TABLE, Rule, Treatment

FIELDS = (
    "id:message_id", "position", "obr_position", "msh_9", "msh_9_2", "msh_9_3", "msh_12", "date:msh_7", "evn_1",
    "date:evn_2", "id:pid_3", "born:pid_7", "pid_8", "pid_10", "pid_10_2", "place:pid_11_3", "pid_11_4",
    "zip:pid_11_5", "pid_11_6", "pid_15", "pid_16", "pid_22", "date:pid_29", "pid_30", "pv1_2", "pv1_4", "pv1_10",
    "pv1_14", "pv1_18", "id:pv1_19", "pv1_36", "date:pv1_44", "date:pv1_45", "dg1_1", "dg1_3", "dg1_3_2", "dg1_3_3",
    "date:dg1_5", "dg1_6", "al1_1", "al1_2", "al1_3", "al1_3_2", "al1_3_3", "al1_4", "obr_1", "id:obr_2", "id:obr_3",
    "obr_4", "obr_4_2", "date:obr_7", "obr_24", "obr_25", "obx_1", "obx_2", "obx_3", "obx_3_2", "obx_3_3",
    "number:obx_5", "obx_6", "obx_7", "obx_8", "obx_11", "date:obx_14", "rxa_1", "rxa_2", "date:rxa_3", "rxa_5",
    "rxa_5_2", "rxa_5_3", "rxa_6", "rxa_7", "pr1_1", "pr1_3", "pr1_3_2", "pr1_3_3", "date:pr1_5",
)  # fmt: skip
"""Columns that land; before a colon what stands there, where that is treated."""

_DIGITS = 1e-9
"""What results are rounded to: they stay what they are, and a result that is no number lands as nothing."""


def treatment(
    *, dates: Method | None, born: Method | None, places: bool, postal: Method | None, ids: Method
) -> Treatment:
    """The rules for segments of a profile: what becomes of each sort of value, None for nothing, and whether towns
    land."""
    of_sort = {"date": dates, "born": born, "zip": postal, "id": ids, "number": Method.ROUND}
    rules: list[Rule] = []
    kept: list[str] = []
    for each in FIELDS:
        sort, _, column = each.rpartition(":")
        if sort == "place" and not places:
            continue
        kept.append(column)
        method = of_sort.get(sort)
        if method is not None:
            rules.append(Rule(path=column, method=method, to=_DIGITS if method is Method.ROUND else None))
    return Treatment(rules=tuple(rules), keep={EVERY_TABLE: tuple(kept)})
