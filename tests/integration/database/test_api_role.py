"""The database role for the API that docs/access.md has: it owns nothing, and the API works with it."""

import re
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from connectors.people import Role
from settings import ROOT
from tests.support.api_rig import CONNECTORS, TOKEN, client
from tests.support.people import OWN, TOKENS, browsing, made_connector, made_token

ROLE = "cai_api"


async def test_the_api_works_with_a_role_that_owns_nothing_and_cannot_touch_the_history(database_url: str) -> None:
    page = (ROOT / "docs" / "access.md").read_text()
    statements = re.findall(r"^    ((?:CREATE ROLE|GRANT) .*;)$", page, re.MULTILINE)
    assert len(statements) == 7
    owner = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await owner.execute(statement.replace("'...'", "'of-the-test'"))
        parts = urlsplit(database_url)
        address = f"{ROLE}:of-the-test@{parts.hostname}:{parts.port}"
        async with client(urlunsplit(parts._replace(netloc=address)), tokens=(TOKEN,)) as api:
            made = await made_connector(api, OWN)
            path = f"{CONNECTORS}/{made['id']}"
            assert (await api.patch(path, json={"description": "changed"})).status_code == 200
            assert (await api.post(f"{path}/activate")).status_code == 200
            assert (await api.post(f"{path}/activate")).status_code == 200
            assert (await api.get(path)).status_code == 200
            assert (await api.post(f"{path}/retry")).status_code == 202
            token = await made_token(api, Role.READER, OWN)
            assert (await api.delete(f"{TOKENS}/{token['id']}")).status_code == 204
            assert (await api.delete(path)).status_code == 204
            async with browsing(api, TOKEN) as browser:
                assert (await browser.send_form("/logout")).status_code == 303
        theirs = await asyncpg.connect(urlunsplit(parts._replace(netloc=address)))
        try:
            assert await theirs.fetchval("SELECT count(*) FROM cai_audit") > 3
            for statement in (
                "UPDATE cai_audit SET actor = 'nobody'",
                "DELETE FROM cai_audit",
                "ALTER TABLE cai_connectors DISABLE TRIGGER USER",
                "DROP TABLE cai_connectors",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await theirs.execute(statement)
        finally:
            await theirs.close()
    finally:
        await owner.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
        await owner.close()
