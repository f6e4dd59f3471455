# Everything happens in .venv; a second call finds the stamps and is instant.
#
#   make run      the app at http://localhost:8501 (PORT=9000, HOST=0.0.0.0 to let others in)
#   make test     the whole suite, in a real browser too (PYTEST_ARGS="tests/masks -q", WORKERS=0 for one process)
#   make check    formatting, lint, types, then the suite
#   make bench    all measurements into docs/benchmarks.md (BENCH_ARGS="peers --lengths 16,64" for a part)
#
# PYTHON=python3.13 chooses the interpreter for a new .venv. Works with GNU Make 3.81, which macOS ships.

HOST ?= localhost
PORT ?=
RUN_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
WORKERS ?= 2
PYTHON ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input
JS := $(wildcard mha_viz/ui/frontend/*.js)

RUN_FLAGS := --server.address $(HOST) $(if $(PORT),--server.port $(PORT))
# Only local names while the app is local: a web page cannot then reach it under a name of its own (DNS rebinding).
ifeq ($(HOST),localhost)
RUN_FLAGS += --server.allowedHosts localhost --server.allowedHosts 127.0.0.1
endif

# The C library of Linux gives memory back page by page when a class has left; Python's own allocator hardly does.
ifeq ($(shell uname -s),Linux)
RUN_ENV := PYTHONMALLOC=malloc MALLOC_ARENA_MAX=1
endif

.DEFAULT_GOAL := help
.PHONY: help run test check lint types format bench docs browser clean distclean

help:
	@echo "make run | test | check | lint | types | format | bench | clean | distclean"

run: .venv/.run-stamp
	$(RUN_ENV) $(BIN)/streamlit run app.py $(RUN_FLAGS) $(RUN_ARGS)

test: .venv/.dev-stamp browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

check: lint types test

lint: .venv/.dev-stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(if $(JS),$(BIN)/oxlint --deny-warnings $(JS),@echo "no JavaScript to lint")

types: .venv/.dev-stamp
	$(BIN)/mypy

format: .venv/.dev-stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev-stamp .venv-bench/.stamp browser
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# The README's tables and pictures, and a page for each rule of the doctor.
docs: .venv/.dev-stamp browser
	$(BIN)/python -m docs.write_tables
	$(BIN)/python -m docs.write_rules
	MHA_VIZ_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/browser/test_screenshots.py

# Never fails: without a browser its tests skip and say why (under CI they fail).
browser: .venv/.dev-stamp
	@printf 'browser: '; $(BIN)/python tests/browser/chromium.py

.venv/bin/python:
	@set -e; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "creating .venv with $$python"; \
	    "$$python" -m venv .venv && exit 0; \
	    rm -rf .venv; \
	    echo "'$$python -m venv' failed. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; \
	  fi; \
	done; \
	echo "Python 3.11 or newer is needed, and none was found ($$($(or $(PYTHON),python3) --version 2>&1))." >&2; \
	echo "Install one, or name it: make run PYTHON=/path/to/python3.12" >&2; exit 1

.venv/.run-stamp: requirements.txt | .venv/bin/python
	$(PIP) -r requirements.txt
	@touch $@

.venv/.dev-stamp: requirements-dev.txt requirements-nodeps.txt .venv/.run-stamp
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps -r requirements-nodeps.txt
	@touch $@

# The libraries that `make bench` compares with, apart from the app: they ask for versions of their own.
.venv-bench/.stamp: requirements-bench.txt | .venv/bin/python
	[ -x .venv-bench/bin/python ] || $(BIN)/python -m venv .venv-bench
	.venv-bench/bin/python -m pip install --disable-pip-version-check --no-input -r requirements-bench.txt
	@touch $@

clean:
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache test-results
	find . -name __pycache__ -type d -not -path './.venv*/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-bench
