"""Sources: the kinds that a connector may name, a module each, and the union of them all.

The models are the shapes of the connector's JSON: frozen, and unknown keys are refused, so that a typing error in the
table is a sentence in the status and not a setting that silently does nothing. Whether a host answers or a local path
may be read is the run's business. A new kind is a module here, a member of `Source`, and a module of its name in
`pipelines.sources`.
"""

from typing import Annotated

from connectors.sources.fhir import FhirSource
from connectors.sources.files import FilesSource
from connectors.sources.redcap import RedcapSource
from connectors.sources.rest_api import RestApiSource
from connectors.sources.sql_database import SqlDatabaseSource
from connectors.sources.unions import ByType

Source = Annotated[RestApiSource | FhirSource | RedcapSource | SqlDatabaseSource | FilesSource, ByType()]
"""Where a connector's rows come from."""
