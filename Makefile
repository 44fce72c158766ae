# make demo · make test · make docs · make board: each sets up everything it needs (Python >= 3.11 and make).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOCK   := constraints.txt
PIP     = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet
PYTEST  = -m pytest -m 'not soak' --numprocesses auto --dist worksteal

.PHONY: demo test unit lint docs soak board study lock test-lowest test-newest wheel clean help

help:
	@echo "make demo         a leaderboard of three methods on a synthetic twin, trained here"
	@echo "make test         lint, types and tests, on all cores (8 minutes on two)"
	@echo "make docs         the documentation, built strictly into site-docs/index.html"
	@echo "make soak         kills, faults, clusters and whole trainings (half an hour)"
	@echo "make board        results/leaderboard.* from the committed records"
	@echo "make study        train the committed studies again (hours on two cores)"
	@echo "make lock         $(LOCK) anew: the newest versions that the bounds allow"
	@echo "make test-lowest  the tests with the lowest versions that the bounds allow"
	@echo "make test-newest  the tests with the newest versions, whatever the lock says"
	@echo "make wheel        the wheel, into dist/"

# The build backend comes first, by the lock too: later runs of make need no network.
$(STAMP): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "crbench needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint $(LOCK) hatchling
	$(PIP) --constraint $(LOCK) --no-build-isolation --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/crbench demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python $(PYTEST)

test: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 2 lint unit

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak -vv --durations 0 --durations-min 1

board: $(STAMP)
	$(BIN)/crbench leaderboard --out results

study: $(STAMP)
	$(BIN)/python scripts/study_demo.py

# One resolution for every Python and platform that pyproject.toml allows, without addresses.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	  --strip-extras --no-annotate --custom-compile-command 'make lock' --quiet --output-file $(LOCK)

test-lowest test-newest: test-%: $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python $(RESOLUTION) --editable '.[dev]'
	.venv-$*/bin/python $(PYTEST)
test-lowest: RESOLUTION = --resolution lowest-direct

wheel: $(STAMP)
	$(BIN)/python -m hatchling build --target wheel

clean:
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache site-docs dist
