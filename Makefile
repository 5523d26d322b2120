# Everything runs from .venv, which each target makes when it is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help run migrate test check format lint types layers test-oldest test-wheel build clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: migrate ## Serve the example application (HOST, PORT, DATABASE_URL); API page at /docs
	$(BIN)/uvicorn example_app.main:app --host $(HOST) --port $(PORT)

migrate: $(READY) ## Bring the example application's database up to date
	$(BIN)/alembic -c example_app/alembic.ini upgrade head

test: $(READY) ## Run the tests, on SQLite and PostgreSQL
	$(BIN)/pytest

check: lint types layers test ## Run everything: lint, types, layers, tests

format: $(READY) ## Format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(READY) ## Check format and style
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(READY) ## Check types with mypy and pyright
	$(BIN)/mypy && $(BIN)/pyright

layers: $(READY) ## Check that imports go one way
	$(BIN)/lint-imports

test-oldest: ## Run the tests with the oldest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=tests/oldest-versions.txt

test-wheel: build ## Run the README's application with nothing but the wheel
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/pip install --quiet dist/*.whl
	.venv-wheel/bin/python -P tests/wheel_check.py

build: $(READY) ## Build the wheel and the source distribution
	rm -rf dist && $(BIN)/pip install --quiet build && $(BIN)/python -m build

clean: ## Remove what the other targets made
	rm -rf .venv .venv-oldest .venv-wheel dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable . --group dev $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
	@touch $@
