# The commands of the README. Everything is installed into .venv from the lock file, and nothing anywhere else.

PYTHON ?= python3
DEMO ?= 1
IMAGE ?= clinical-ai-prefect
BIN := .venv/bin
PACKAGES := settings.py flows connectors deployments pipelines local tests benchmarks

.PHONY: run test bench lint image venv

run: venv
	@DEMO=$(DEMO) exec $(BIN)/python -m local.stack

test: venv
	$(BIN)/python -m pytest

bench: venv
	$(BIN)/python -m benchmarks

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(wildcard $(PACKAGES))
	$(BIN)/lint-imports

image:
	docker build --tag $(IMAGE) .

venv: .venv/installed

# --no-deps: the lock already names every package, each with its hashes.
.venv/installed: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is " + sys.version.split()[0] + ": name another one, for example make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Installing into .venv from $<: once, and again when it changes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@
