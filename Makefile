# Each target makes the environment that it needs, when it is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
# What goes into VENV: a group of pyproject.toml, in the versions of this file. An empty name stands for
# the newest that pyproject.toml allows.
GROUP := dev
CONSTRAINTS := pinned-versions.txt
# FastSQLA needs Python 3.12 or newer, fastapi-sqla 3.13 or older; on others they are left out.
PEERS_PYTHON := import sys; from tests.other_pythons import find; print(find("3.13") or find("3.12") or sys.executable)
# What `make test` runs; all of it by default.
TESTS :=
# Of pytest: most of what the tests of faults do is to wait, so there are more workers than cores.
PYTEST := -n 4 --dist worksteal
# Not empty: tests that fail run once more, at the end and one after the other. `.ci/run` sets it.
REPEAT ?=
AGAIN := -n 0 --last-failed --last-failed-no-failures none --maxfail 3
# What has to work with the newest of everything, and with each Python: what users see.
CONTRACT := tests/contract
PUBLIC := $(CONTRACT) tests/testing tests/example_app tests/test_docs.py tests/test_public_api.py

# Tests start a hundred Pythons, each of which would compile the package.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIN := $(CONSTRAINTS:%=--constraint %)
PIN_BUILD := $(CONSTRAINTS:%=--build-constraint %)

.PHONY: help run run-cluster migrate test check format lint types layers lock build clean
.PHONY: test-drivers test-dialect test-pooler test-cluster test-adoption test-filters test-answers test-openapi test-oldest test-newest test-pythons test-wheel bench
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: migrate ## Serve the example application (HOST, PORT, DATABASE_URL); API page at /docs
	.venv-run/bin/uvicorn example_app.main:app --host $(HOST) --port $(PORT)

run-cluster: $(READY) ## Serve it on a primary and two standbys, started for it; kill one and look at /health/ready
	$(BIN)/python -m example_app.cluster --host $(HOST) --port $(PORT)

migrate: .venv-run/.ready ## Bring the example application's database up to date
	.venv-run/bin/asyncdb upgrade

test: $(READY) ## Run the tests, on SQLite, PostgreSQL and MariaDB; TESTS=tests/contract runs some of them
	$(BIN)/pytest $(PYTEST) $(TESTS) $(if $(REPEAT),|| { echo "REPEATED: what failed above"; $(BIN)/pytest $(AGAIN) $(TESTS); })

test-drivers: ## Run the tests on the drivers that `make test` leaves out
	$(MAKE) test TESTS=--drivers=other

test-dialect: ## Run the contract on a database that another package adds
	$(MAKE) test TESTS='$(CONTRACT) --databases=postgresql-asyncpg-derived,postgresql-psycopg-derived -k derived'

test-pooler: ## Run the contract on PostgreSQL behind PgBouncer
	$(MAKE) test TESTS='$(CONTRACT) --pooled --drivers=all -k pooled'

test-cluster: ## Run a Galera cluster with conflicts, and a Patroni cluster whose leader fails
	$(MAKE) test TESTS=tests/cluster PYTEST=

check: lint layers types test ## Run everything: lint, types, layers, tests

format: $(READY) ## Format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(READY) ## Check format and style
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(READY) ## Check types with mypy and pyright, and that public names have complete ones
	$(BIN)/mypy && $(BIN)/pyright
	PYTHONPATH=.:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	$(BIN)/pyright --verifytypes fastapi_asyncdb --ignoreexternal --outputjson | $(BIN)/python -m tests.typing.completeness

layers: $(READY) ## Check that imports go one way
	$(BIN)/lint-imports

test-adoption: ## Run the tests of projects that use other libraries beside this one
	$(MAKE) test VENV=.venv-adoption GROUP=adoption CONSTRAINTS=tests/adoption/pinned-versions.txt TESTS=tests/adoption \
		PYTHON="$$($(PYTHON) -c '$(PEERS_PYTHON)')"

test-filters: ## Compare filters with a model in Python, in 5,000 examples on each database
	FILTER_EXAMPLES=5000 $(MAKE) test TESTS='tests/data/test_filter_model.py --drivers=all --timeout 1800'

test-answers: ## Compare answers with FastAPI's own, in 4,000 examples on each driver
	ANSWER_EXAMPLES=4000 $(MAKE) test TESTS='tests/data/answers/test_equal_to_fastapi.py --drivers=all --timeout 1800'

test-openapi: .venv-openapi/.ready ## Send generated requests to the example application; FUZZ=--max-examples=500 for more
	.venv-openapi/bin/python -m tests.fuzzed_example $(FUZZ)

test-oldest: ## Run the tests with the oldest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-oldest GROUP=test CONSTRAINTS=tests/oldest-versions.txt TESTS=--drivers=all

test-newest: ## Run what users see with the newest versions of today
	rm -rf .venv-newest
	$(MAKE) test VENV=.venv-newest GROUP=test CONSTRAINTS= TESTS='$(PUBLIC) --drivers=all'

test-pythons: ## Run the contract on each other Python that this machine has
	$(PYTHON) tests/other_pythons.py $(MAKE) GROUP=test TESTS='$(CONTRACT) --drivers=all'

test-wheel: build ## Run the README's application with nothing but the wheel
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/pip install --quiet dist/*.whl $(PIN)
	.venv-wheel/bin/python -P tests/wheel_check.py

bench: ## Compare with other libraries, for 25 minutes; BENCH='--quick --only cpu' for less
	$(MAKE) .venv-bench/.peers PYTHON="$$($(PYTHON) -c '$(PEERS_PYTHON)')"
	.venv-bench/bin/python -m benchmarks $(BENCH)

lock: ## Renew the files of pinned versions: the newest that pyproject.toml allows
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --constraint pinned-versions.txt uv
	echo '--editable .' | .venv-lock/bin/uv pip compile --quiet --group dev --group bench --group openapi --group lock -o pinned-versions.txt -
	echo '--editable .' | .venv-lock/bin/uv pip compile --quiet --group adoption -o tests/adoption/pinned-versions.txt -

build: $(READY) ## Build the wheel and the source distribution
	rm -rf dist && $(BIN)/python -m build --no-isolation

clean: ## Remove what the other targets made
	rm -rf .venv .venv-* .editable dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis .import_linter_cache

.venv-run/.ready: GROUP := example

.venv-openapi/.ready: GROUP := openapi

.venv-bench/.ready: GROUP := bench

.venv-bench/.peers: .venv-bench/.ready benchmarks/peers.txt
	.venv-bench/bin/pip install --quiet --no-deps --requirement benchmarks/peers.txt
	@touch $@

%/.ready: pyproject.toml hatch_build.py $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: name one with PYTHON=")'
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --upgrade 'pip>=25.3' $(PIN)
	$*/bin/pip install --quiet --editable . --group $(GROUP) $(PIN) $(PIN_BUILD)
	@touch $@
