"""References to Prefect's blocks, on a real server."""

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from connectors.sources.secret_references import BlockRef, SecretRef
from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError, TransientError
from tests.support.data_plane.platform import Platform
from tests.support.data_plane.samples import omop
from tests.support.servers.prefect_server import PrefectServer


def test_a_secret_block_and_a_sqlalchemy_block_lead_to_the_clinic(
    platform: Platform, prefect_server: PrefectServer, clinic_url: str
) -> None:
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver  # type: ignore[import-untyped]
    from sqlalchemy import make_url

    url = make_url(clinic_url)
    Secret(value=SecretStr(clinic_url)).save("clinic", overwrite=True, _sync=True)  # type: ignore[call-arg]
    components = ConnectionComponents(
        driver=SyncDriver.POSTGRESQL_PSYCOPG2,
        username=url.username,
        password=SecretStr(str(url.password)),
        host=url.host,
        port=str(url.port),
        database=str(url.database),
    )
    SqlAlchemyConnector(connection_info=components).save("clinic", overwrite=True, _sync=True)
    for reference in ({"secret": "clinic"}, {"block": "sqlalchemy-connector/clinic"}):
        assert platform.run(platform.add(omop(reference, "person"))).total_rows == 2_694


@pytest.mark.usefixtures("prefect_server")
def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no block 'secret/nowhere'"):
        Secrets().resolve(SecretRef(secret="nowhere"))
    with pytest.raises(ConfigurationError, match="no block 'aws-credentials/lake'"):
        Secrets().resolve(BlockRef(block="aws-credentials/lake"))


def test_a_prefect_that_does_not_answer_is_told_without_names_of_classes(caplog: pytest.LogCaptureFixture) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(TransientError) as caught:
        Secrets().resolve(SecretRef(secret="clinic"))
    assert "check that its server runs" in str(caught.value)
    assert "Error" not in str(caught.value)
    assert "ConnectError" in caplog.text
