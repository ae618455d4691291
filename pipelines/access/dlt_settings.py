"""Settings of dlt: by what a run passes and sets, and from nowhere else.

dlt would look for each of some hundred settings a load, and of its credentials, in files below /run/secrets and in
`secrets.toml` and `config.toml` of the working directory and the home, under up to ten names each. What a connector
loads is said by the connector: a file that stands somewhere on a worker must not change that, and looking for it took
a tenth of a small load.
"""

from os import environ
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext


class Environment(EnvironProvider):
    """The environment, without dlt's look for a file of the name of each secret."""

    def get_value(self, key: str, hint: Any, pipeline_name: str | None, *sections: str) -> tuple[Any | None, str]:
        """The value of a setting in the environment, None where it has none, and the name that was looked for."""
        name = self.get_key_name(key, pipeline_name or "", *sections)
        return environ.get(name), name


def use_environment_alone() -> None:
    """Let dlt find its settings in the environment and nowhere else, in this process."""
    Container()[PluggableRunContext].providers.providers[:] = [Environment()]
