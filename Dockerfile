# One image for the controller, the REST API, the workers, the runs' pods, the Prefect server and the jobs around them:
# the command decides which. There is no entry point, so whatever a work pool says is run as it stands.

ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS packages
COPY requirements.lock /tmp/requirements.lock
# Without pip: what runs cannot install anything. The lock names every package with its hashes. One file of whenever is
# for Python 3.12 alone, whose grammar it has.
RUN python3 -m venv --without-pip /venv \
    && python3 -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps \
        --require-hashes --only-binary :all: -r /tmp/requirements.lock \
    && python3 -m compileall -q -j 0 -x '/whenever/_typing_312[.]py$' /venv/lib

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="clinical-ai-prefect" \
      org.opencontainers.image.description="Connectors in a table, deployments in Prefect" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /home/cai cai \
    && install -d -o cai -g cai /home/cai /data
COPY --from=packages /venv /venv
WORKDIR /app
# Owned by root: the process can't change its own code.
COPY alembic.ini pyproject.toml prefect.yaml settings.py logs.py ./
COPY flows flows
COPY api api
COPY web web
COPY use_cases use_cases
COPY database database
COPY prefect_api prefect_api
COPY connectors connectors
COPY deployments deployments
COPY pipelines pipelines
COPY workers workers
# The root is read-only where it runs, so nothing can be compiled there.
RUN /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/cai \
    PREFECT_HOME=/home/cai/.prefect \
    PYTHONTZPATH= \
    CAI_CODE_PATH=/app \
    CAI_CODE_VERSION=${VERSION}+${REVISION} \
    CAI_DATA_DIR=/data \
    DO_NOT_TRACK=1 \
    RUNTIME__DLTHUB_TELEMETRY=false
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
# Of the default command; Kubernetes has probes for each workload and reads none of this.
HEALTHCHECK --interval=30s --timeout=15s --start-period=120s CMD ["python", "-m", "deployments.alive"]
CMD ["python", "-m", "flows.controller"]
