# Narrowgate: the verbs. `make test` is what CI runs; every verb does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_BENCH := $(VENV)/.ready-bench
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# A Python that is new enough and can make a virtual environment. A name on PATH may be a shim
# for an interpreter that is not there, so each is run.
FIND_PYTHON := for p in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
  if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
    >/dev/null 2>&1; then echo "$$p"; exit 0; fi; done; \
  echo "error: no Python >= 3.11 with venv on PATH (on Debian: apt-get install python3 \
	python3-venv); name one with 'make PYTHON=/path/to/python3 ...'" >&2; exit 1

.PHONY: help setup demo test lint types format conformance fuzz bench lock clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

setup: $(READY) ## make .venv with the locked dependencies

$(READY): requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || { python=$$($(FIND_PYTHON)); "$$python" -m venv $(VENV); }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(VENV) holds a Python before 3.11; run 'make clean'" >&2; exit 1; }
	$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY_BENCH): $(READY) requirements/bench.txt
	$(PIP_INSTALL) --require-hashes -r requirements/bench.txt
	@touch $@

demo: $(READY) ## the shop: five services, their sidecars, and what is refused
	$(BIN)/python -m examples.commerce.demo

test: lint types ## lint, types and the whole test suite: what CI runs
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict over ca, policy and sidecar
	$(BIN)/mypy

format: $(READY) ## rewrite the sources in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: $(READY) ## only the corpora and the real peers, none of which may be missing
	NARROWGATE_REQUIRE_ALL=1 $(BIN)/python -m pytest tests/wire tests/conformance $(PYTEST_ARGS)

fuzz: $(READY) ## the property tests with many more examples and a fresh seed
	NARROWGATE_PROFILE=fuzz $(BIN)/python -m pytest tests/property --timeout=0 $(PYTEST_ARGS)

bench: $(READY_BENCH) ## CPU per request beside Envoy's, in one interleaved run
	requirements/debian nginx:nginx-light wrk:wrk ip:iproute2
	$(BIN)/python -m bench.run $(BENCH_ARGS)

lock: $(READY) ## lock the dependencies again from requirements/*.in
	requirements/lock

clean: ## remove everything that these verbs made
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
