# The commands of the README. Everything is installed into .venv from the lock file, and nothing anywhere else.

PYTHON ?= python3
DEMO ?= 1
IMAGE ?= clinical-ai-prefect:0.1.0
BIN := .venv/bin
PACKAGES := settings.py logs.py flows api web use_cases database prefect_api connectors deployments pipelines workers local helm rigs tests benchmarks

# Where it is set, each of the hundreds of processes that tests and runs start would compile its thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: ports run unit test test-together test-alone soak pythons bench bench-data lint image venv

# A taken port is said before anything is installed; later the platform itself looks, once it has ended what an earlier
# start left behind.
run: $(if $(wildcard .venv/installed),,ports) venv
	@DEMO=$(DEMO) exec $(BIN)/python -m local.stack

ports:
	@$(PYTHON) local/ports.py

# What needs no process, no database and no server: in half a minute, whoever changes a line knows. The fixtures of the
# other rungs are not even imported (--confcutdir).
unit: venv
	$(BIN)/python -m pytest tests/unit -q -n 2 --dist loadfile -p no:schemathesis --confcutdir=tests/unit

# On both cores, a file's tests together, for they share a server; and whole platforms, one at a time. With `make -k` the
# second part is run even if the first has failed, with `make -j2` beside it: a platform mostly waits for its parts.
test: test-together test-alone

test-together: venv
	$(BIN)/python -m pytest -m "not soak and not alone" -n 2 --dist loadfile --no-loadscope-reorder

test-alone: venv
	$(BIN)/python -m pytest -m "alone and not soak" -o cache_dir=.pytest_cache/alone

# What follows a version: the control plane's suite, one life of a connector with its load, and every type of a load.
FOLLOWS_VERSIONS = -p no:cacheprovider -n 2 --dist loadfile --no-loadscope-reorder tests/contract tests/unit/deployments tests/integration/deployments tests/e2e/test_connector_life.py tests/integration/pipelines/test_run.py

# The long versions; and what follows a version, on the Prefect before and on the later Pythons that are here.
soak: venv .venv-previous/installed pythons
	$(BIN)/python -m pytest -m soak
	.venv-previous/bin/python -m pytest $(FOLLOWS_VERSIONS)

PYTHONS = $(foreach version,3.12 3.13,$(shell python$(version) -c 'print($(version))' 2>/dev/null))

pythons: $(PYTHONS:%=.venv-%/installed)
	for version in $(PYTHONS); do .venv-$$version/bin/python -m pytest $(FOLLOWS_VERSIONS) || exit 1; done

bench: venv
	$(BIN)/python -m benchmarks

# Some fifteen minutes; other tools are installed into .local/bench-peers, where a package index has them.
bench-data: venv
	$(BIN)/python -m benchmarks.data

# One of them: make bench-audit, make bench-latency and so on.
bench-%: venv
	$(BIN)/python -m benchmarks $*

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(wildcard $(PACKAGES))
	$(BIN)/lint-imports

# BUILD is what builds it: a docker that has an engine, else buildah or podman. BUILD_FLAGS goes to it, for example
# BUILD_FLAGS="--build-arg BASE=registry.example/python:3.11".
BUILD ?= $(shell docker info >/dev/null 2>&1 && echo docker || command -v buildah podman | head -n 1)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

image:
	@test -n "$(BUILD)" || { echo "An image needs docker with an engine, buildah or podman: install one of them."; exit 1; }
	$(BUILD) build $(if $(findstring docker,$(BUILD)),,--format docker) --build-arg REVISION=$(REVISION) $(BUILD_FLAGS) --tag $(IMAGE) .

venv: .venv/installed

.venv/installed $(PYTHONS:%=.venv-%/installed): requirements-dev.lock
.venv-previous/installed: requirements-previous.lock
$(foreach version,$(PYTHONS),$(eval .venv-$(version)/installed: PYTHON = python$(version)))

# --no-deps: the lock already names every package, each with its hashes. uv does in seconds what takes pip a minute, so it
# is installed first; where it cannot do it, pip does, and says why not.
.venv/installed .venv-previous/installed $(PYTHONS:%=.venv-%/installed):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is " + sys.version.split()[0] + ": name another one, for example make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Installing into $(@D) from $<: once, and again when it changes."
	@$(PYTHON) -m venv $(@D)
	@awk '/^uv==/ {uv = 1} uv {print} uv && !/\\$$/ {exit}' $< > $(@D)/uv.lock
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(@D)/uv.lock 2>$(@D)/pip.log \
		&& $(@D)/bin/uv pip install --python $(@D)/bin/python --quiet --no-deps --require-hashes -r $< 2>>$(@D)/pip.log \
		|| $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@
