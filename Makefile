# Every target only wraps commands that the README documents.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test quick lint docs clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("nearfar needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.12" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -c constraints.txt -e '.[dev,parquet,export,geo]'
	touch $@

demo: $(VENV)/.installed      ## generate a world, train on it, write a report
	$(BIN)/nearfar demo

test: $(VENV)/.installed-dev  ## all tests
	$(BIN)/pytest

quick: $(VENV)/.installed-dev ## the tests that take less than a few seconds each
	$(BIN)/pytest -m "not slow"

lint: $(VENV)/.installed-dev  ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev  ## the documentation site, in site/
	$(BIN)/pip install -c constraints.txt -e '.[docs]'
	$(BIN)/zensical build

clean:
	rm -rf $(VENV) site build dist
