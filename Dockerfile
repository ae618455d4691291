# One image for the controller, the REST API and a worker's job: the command decides which.

ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS packages
COPY requirements.lock /tmp/requirements.lock
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        -r /tmp/requirements.lock \
    && /venv/bin/python -m compileall -q /venv/lib

FROM ${BASE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /home/cai cai \
    && install -d -o cai -g cai /home/cai /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY alembic.ini pyproject.toml prefect.yaml settings.py ./
COPY flows flows
COPY connectors connectors
COPY deployments deployments
COPY pipelines pipelines
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/cai \
    PREFECT_HOME=/home/cai/.prefect \
    CAI_CODE_PATH=/app \
    CAI_DATA_DIR=/data \
    DO_NOT_TRACK=1 \
    RUNTIME__DLTHUB_TELEMETRY=false
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
CMD ["python", "-m", "flows.controller"]
