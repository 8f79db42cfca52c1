# Needs git, make and Python 3.11 to 3.14 with venv; everything else is installed into .venv, from wheels.

PYTHON ?=
PORT ?=
DEMO_HOME ?= .mldeploy
BIN := .venv/bin
ARGS ?=

.PHONY: help install install-dev demo up test test-all chaos lint bench bench-peers docs docs-serve compose-test lock lock-check fresh-test clean

help:  ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile | awk -F': ' '{printf "%-14s %s\n", $$1, $$2}'

install:  ## make .venv with the mldeploy command; with the newest Python there is, or PYTHON=...
	@PYTHON='$(PYTHON)' sh deploy/install.sh requirements.lock

install-dev:  ## install, and what tests and lint need
	@PYTHON='$(PYTHON)' sh deploy/install.sh requirements.lock requirements-dev.lock

demo: install  ## train, predict, replace, roll back, step by step; ONCE=1 ends then, VERBOSE=1 shows all JSON
	@$(BIN)/mldeploy demo --home $(DEMO_HOME) $(if $(PORT),--port $(PORT)) $(if $(ONCE),--once) $(if $(VERBOSE),--verbose)

up: install  ## the whole service on this machine
	@$(BIN)/mldeploy up $(if $(PORT),--port $(PORT)) $(ARGS)

test: install-dev  ## the tests, in five minutes, against a real Redis and real workers
	@$(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-all: install-dev  ## every test, the fault tests among them
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

chaos: install-dev  ## the fault tests, longer: more jobs, more faults
	@$(BIN)/pytest tests/faults --chaos -s $(ARGS)

lint: install-dev  ## ruff and mypy strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: install-dev  ## beside the usual tutorial and the limits, in one run; writes docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: install-dev  ## beside MLServer, LitServe, BentoML and Ray Serve, each installed for it into .bench
	@$(BIN)/python -m benchmarks.against_peers $(ARGS)

docs: install-dev  ## docs/ as a site in .site, without a warning
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: install-dev  ## the same on http://127.0.0.1:8000, built again at each change
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

compose-test: install-dev  ## docker-compose.yml for real: build, start, use, kill a worker, take down
	@$(BIN)/python -m tests.compose $(ARGS)

fresh-test: install-dev  ## make demo on fresh Debian 12 and 13 systems with git, make and python3-venv alone; as root
	@$(BIN)/python -m tests.fresh $(ARGS)

lock: install-dev  ## resolve the dependencies anew, to wheels, for every platform and Python 3.11 to 3.14
	@for lock in "requirements.lock" "requirements-dev.lock --extra dev"; do \
	  $(BIN)/uv pip compile -q --no-config --upgrade --universal --python-version 3.11 --only-binary :all: --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url --extra build -o $$lock pyproject.toml || exit 1; done

lock-check: install-dev  ## whether the locks can be installed, from wheels, on each platform and each Python
	@$(BIN)/pytest tests/integration/test_locks.py $(ARGS)

clean:  ## remove what was made here
	rm -rf .venv .bench .site $(DEMO_HOME) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
