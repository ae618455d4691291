"""Secret blocks of Prefect: values are put there, and never read back here."""

import logging

import httpx

from connectors.errors import PrefectUnavailableError

logger = logging.getLogger(__name__)

_DOWN = "its server does not take blocks just now."
_WAY_OUT = "Nothing was stored: try this again later."


class PrefectBlocks:
    """`use_cases.credentials.Blocks` over the server of `PREFECT_API_URL`."""

    async def keep(self, name: str, value: str) -> None:
        """Put a value into a new Secret block of this name. Raises `PrefectUnavailableError`."""
        from prefect.blocks.system import Secret  # noqa: PLC0415  # Prefect takes two seconds to import

        try:
            await Secret(value=value).save(name)
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            logger.warning("A block could not be stored: %s.", type(error).__name__)
            raise PrefectUnavailableError(_DOWN, _WAY_OUT) from None

    async def forget(self, name: str) -> None:
        """Delete a Secret block; one that is left over is told to the log: no connector may name it."""
        from prefect.client.orchestration import get_client  # noqa: PLC0415
        from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

        try:
            async with get_client() as client:
                document = await client.read_block_document_by_name(name, "secret", include_secrets=False)
                await client.delete_block_document(document.id)
        except ObjectNotFound:
            return
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            logger.warning(
                "The Secret block %s could not be deleted (%s): delete it by hand.", name, type(error).__name__
            )
