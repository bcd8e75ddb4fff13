# `make quickstart` and `make test` are all that a fresh machine needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

.PHONY: help install demo quickstart test test-slow check docs notebooks dist clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Create .venv and install the package with its development tools

demo: $(VENV)/.installed ## A trained agent and its film in a minute, from an encoder that comes with the package
	$(BIN)/python -m experiments.demo

quickstart: $(VENV)/.installed ## Pixels to a trained agent: pretrain, evaluate, train PPO on the codes, write report.html
	$(BIN)/python -m experiments.quickstart

# whole files to a process, so that what a file's tests share is made once
test: $(VENV)/.installed ## Run the test suite, a process per core (4 at most)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed ## Run the end-to-end checks that take minutes
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.docs: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,docs]"
	touch $@

docs: $(VENV)/.docs ## Build the documentation site into build/docs; a warning or a dead link is an error
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs . build/docs
	@echo build/docs/docs/index.html

notebooks: $(VENV)/.docs ## Run the notebooks of the site anew, in build/notebooks, and keep what they show
	rm -rf build/notebooks && mkdir -p build/notebooks && cp docs/notebooks/*.ipynb build/notebooks
	cd build/notebooks && PATH="$(abspath $(BIN)):$$PATH" python -m nbconvert --to notebook --execute --inplace *.ipynb
	cp build/notebooks/*.ipynb docs/notebooks

dist: $(VENV)/.installed ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m zipfile --list dist/*.whl

clean: ## Remove caches and build outputs (never runs/)
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
