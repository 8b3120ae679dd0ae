# `make demo` and `make test` do all the set-up themselves: a virtual environment in .venv with exact versions.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types check install clean

demo: .venv/.demo
	$(BIN)/rocoft demo

test: install
	$(BIN)/pytest -n auto --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

check: test lint types

install: .venv/.dev

# torch first and by itself: its exact version decides which build is taken.
.venv/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) $$(grep '^torch==' constraints.txt)
	@touch $@

.venv/.demo: .venv/.torch pyproject.toml
	$(PIP) -c constraints.txt -e '.[demo]'
	@touch $@

.venv/.dev: .venv/.torch pyproject.toml
	$(PIP) -c constraints.txt -e '.[demo,dev,quant]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
