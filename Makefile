# Luthier. `make demo` and `make test` need nothing but Python 3.11+ with venv and pip.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Modules are compiled when they are first imported, and kept: half the time of an installation, and most never are.
PIP := $(BIN)/pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE  # some containers set it, and every command would compile anew

.PHONY: help demo test test-environment slow lint bench clean

help:
	@echo "make demo   install into $(VENV), then make a specialist from the embedded model (minutes)"
	@echo "make test   install into $(VENV), then run the tests"
	@echo "make slow   the slow tests"
	@echo "make lint   ruff and mypy"
	@echo "make bench  measure against named peers on this machine"

$(BIN)/luthier: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.tests: $(BIN)/luthier
	$(PIP) -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.lint: $(BIN)/luthier
	$(PIP) -c constraints.txt -e '.[lint]'
	touch $@

test-environment: $(VENV)/.tests

demo: $(BIN)/luthier
	$(BIN)/luthier demo

test: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal  # two processes of one thread: what two cores do best

slow: $(VENV)/.tests
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.tests
	$(BIN)/python benchmarks/train.py
	$(BIN)/python benchmarks/data.py --sizes 10k,100k

clean:
	rm -rf $(VENV) demo build dist
