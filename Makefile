# Everything is done in .venv, which is made when it is missing or older than what it was made from.
#
#   make demo         start ivrd with an example app, place a simulated call through the real shim, show its course
#   make test         linters, types and all tests; those on real Asterisk where it can be had (root, Debian)
#   make bench        the hand-over beside a C child and python3, interleaved; a scrape; 4,000 calls at once
#   make chaos        deaths, restarts, reloads and overload at full size, with a table at the end
#   make conformance  the simulator beside real Asterisk, on random command sequences
#   make lint         linters and types only
#   make clean        remove .venv and everything built

IVRD_PYTHON ?= python3
PYTHON := .venv/bin/python
READY := .venv/.ready

.PHONY: demo test bench chaos conformance lint clean
.DELETE_ON_ERROR:

demo: $(READY)
	@$(PYTHON) -m examples.demo

test: lint
	@$(PYTHON) -m tests.asterisk.rig setup || { \
	    test "$$CI" != true || { echo "make test: CI=true, and nothing may be left out: stopping" >&2; exit 1; }; \
	    echo "make test: going on WITHOUT the tests on real Asterisk; the summary names each of them" >&2; }
	$(PYTHON) -m pytest

bench: $(READY)
	@$(PYTHON) -m tests.bench
	@$(PYTHON) -m tests.bench.scrape
	@$(PYTHON) -m tests.bench.crowd

chaos: $(READY)
	@$(PYTHON) -m tests.chaos

conformance: $(READY)
	@$(PYTHON) -m tests.asterisk.rig setup
	@$(PYTHON) -m tests.asterisk.conformance

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

clean:
	rm -rf .venv build dist shim/ivrd-shim .hypothesis .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An editable install copies the compiled shim, the metadata and the scripts, so their sources decide when it is old.
$(READY): pyproject.toml hatch_build.py shim/build shim/ivrd-shim.c ivrd/__init__.py
	@$(IVRD_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "make: $(IVRD_PYTHON) is missing or older than 3.11; name another: make IVRD_PYTHON=python3.12 ..." >&2; exit 1; }
	@$(IVRD_PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "make: $(IVRD_PYTHON) lacks its venv module: apt install python3-venv" >&2; exit 1; }
	@test -x $(PYTHON) || $(IVRD_PYTHON) -m venv .venv
	@echo "make: installing ivrd and its tools into .venv"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
