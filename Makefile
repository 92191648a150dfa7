# make demo       one application from login to approval; ONCE=1 ends after it
# make test       lint, types, import contracts, all tests      LONG=1 adds the long forms of those that kill
# make lint       the first three alone          make format    what can be mended by itself
# make openapi    openapi/ written anew          make lock      newest versions, pinned by hash
#
# Everything lives in .venv. It is made once, and again when a lock or pyproject.toml has changed; after that
# nothing here needs a network. The locks pin every file by hash and name no package index, so that whichever
# index pip is set to use will do.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.PHONY: demo test lint format openapi lock migration

demo: .venv/.product
	$(BIN)/onestop demo $(if $(ONCE),--once)

test: lint
	$(BIN)/pytest $(if $(LONG),,-m 'not long')

lint: .venv/.tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

openapi: .venv/.tests
	$(BIN)/python -m gateway.openapi

migration: .venv/.tests
	$(BIN)/python -m gateway.migrations $(NAME)

lock:
	$(COMPILE) --upgrade pyproject.toml --group build -o requirements.lock
	$(COMPILE) --upgrade pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/.product: requirements.lock pyproject.toml | .venv/bin/python
	$(PIP) --require-hashes --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

.venv/.tests: requirements-dev.lock .venv/.product
	$(PIP) --require-hashes --requirement requirements-dev.lock
	@touch $@
