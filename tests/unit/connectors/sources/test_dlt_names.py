"""Names of paginators and logins: those of dlt, so that its documentation explains them, and none of them missing.

Its maps from names to classes are not used: every class but the one of a single page is put right here (see Decisions
in docs/architecture.md).
"""

from typing import Any, get_args

import pytest
from dlt.sources.rest_api.config_setup import AUTH_MAP, PAGINATOR_MAP

from connectors.sources.http import Auth, Paginator


def names(union: Any) -> set[str]:
    return {name for model in get_args(get_args(union)[0]) for name in get_args(model.model_fields["type"].annotation)}


@pytest.mark.parametrize(("union", "theirs"), [(Auth, AUTH_MAP), (Paginator, PAGINATOR_MAP)], ids=["auth", "paginator"])
def test_each_name_that_dlt_knows_is_one_of_ours(union: Any, theirs: dict[str, Any]) -> None:
    deprecated = {"json_response"}
    assert theirs.keys() - deprecated <= names(union)
