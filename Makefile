# make demo · make test · make docs · make board: each sets up everything it needs (Python >= 3.11 and make).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test lint docs soak board study clean help

help:
	@echo "make demo   a leaderboard of three methods on a synthetic twin, trained here (about 5 minutes)"
	@echo "make test   lint, types and tests (under 10 minutes)"
	@echo "make docs   the documentation, built strictly into site-docs/index.html"
	@echo "make soak   long kill-and-fault tests"
	@echo "make board  results/leaderboard.* from the committed records"
	@echo "make study  train the committed studies again (hours on two cores)"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "crbench needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/crbench demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(STAMP) lint
	$(BIN)/python -m pytest -m 'not soak'

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak

board: $(STAMP)
	$(BIN)/crbench leaderboard --out results

study: $(STAMP)
	$(BIN)/python scripts/study_demo.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache site-docs
