"""Fitness of a work pool to run our flow, judged by its type and its base job template. Pure.

A run needs our code: a process starts where the deployment says that it is, a container in an image that holds it. A
pool that somebody made for other flows lets a deployment in all the same; each of its runs then crashes, or waits for a
worker that never comes, while all looks well. Only what certainly cannot work is refused: a template that names an
image or a directory of its own is taken to know what it does.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prefect_api.deployment import WorkPool
from prefect_api.names import WARM_POOL_TYPE

PROCESSES = frozenset({"process", WARM_POOL_TYPE})
"""Types whose runs are processes on the worker's machine."""
CONTAINERS = frozenset({"docker", "kubernetes"})
"""Types whose every job has an image."""

_STOCK_IMAGE = re.compile(r"(?:[\w.-]+/)?prefecthq/prefect(?:[:@-].*)?")
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def why_unfit(pool: WorkPool) -> str | None:
    """Why no run of ours can start in this pool, as a sentence; None when nothing speaks against it."""
    ways_out = "ask operations to give it this platform's template, or name another pool."
    if pool.type == "prefect-agent":
        return f"The work pool {pool.name!r} is one of agents, which no Prefect of today has: name another one."
    if pool.type.startswith("prefect:managed"):
        return f"The work pool {pool.name!r} runs flows on Prefect's own machines, where our code is not: name another."
    job = pool.template.get("job_configuration")
    if not isinstance(job, Mapping):
        job = {"working_dir": "{{ working_dir }}"}  # its worker fills in the type's own, which names no image
    if pool.type in PROCESSES and not job.get("working_dir"):
        return (
            f"The base job template of the work pool {pool.name!r} leaves out working_dir, so runs would start where "
            f"their code is not: {ways_out}"
        )
    images = [_resolved(image, pool.template) for image in _images(job)]
    if pool.type in CONTAINERS and not images:
        images = [None]
    if any(_is_stock(image) for image in images) and not _resolved(job.get("task_definition_arn"), pool.template):
        return (
            f"The base job template of the work pool {pool.name!r} (of type {pool.type}) names no image of this "
            f"platform, so runs would start in one that does not hold their code: {ways_out}"
        )
    return None


def _images(part: Any) -> Iterator[Any]:
    """Every image that a job's configuration names, however deep."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "image":
                yield value
            else:
                yield from _images(value)
    elif isinstance(part, list):
        for value in part:
            yield from _images(value)


def _resolved(value: Any, template: Mapping[str, Any]) -> Any:
    """A value of the template with the variable that it stands for: its default, since our deployments set none."""
    variable = _VARIABLE.fullmatch(value.strip()) if isinstance(value, str) else None
    if variable is None:
        return value
    variables = template.get("variables")
    properties = variables.get("properties") if isinstance(variables, Mapping) else None
    of_name = properties.get(variable[1]) if isinstance(properties, Mapping) else None
    return of_name.get("default") if isinstance(of_name, Mapping) else None


def _is_stock(image: Any) -> bool:
    return not image or (isinstance(image, str) and _STOCK_IMAGE.fullmatch(image) is not None)
