# Everything one types. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= python3.11 python3.12 python3.13 python3
BIN := .venv/bin
PROCESSES = $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))# that test side by side: some wait for others
MIHA_DATA_DIR ?= $(wildcard ../shared/data)
export MIHA_DATA_DIR
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

setup: .venv/ready ## create .venv with the locked versions of all dependencies; PYTHON=python3.12 chooses the Python

.venv/ready: .venv/pyvenv.cfg requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

.venv/pyvenv.cfg:
	@for python in $(PYTHON); do $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; done || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, and none of these is: $(PYTHON). Or: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	echo "$$python -m venv --clear .venv"; $$python -m venv --clear .venv

# Whoever names a Python gets it: a .venv of another version is made anew.
ifneq ($(origin PYTHON),file)
ifneq ($(shell { $(PYTHON) -V; } 2>/dev/null),$(shell { $(BIN)/python -V; } 2>/dev/null))
.venv/pyvenv.cfg: anew
endif
endif

demo: setup ## simulate scenes, fill the gaps at once, train with Prefect, fill again, print errors of both (one to three minutes after the set-up, which downloads packages once)
	$(BIN)/miha simulate demo/scenes --days 20 --height 48 --width 48
	$(BIN)/miha fill demo/scenes/gapped/*.tif --data demo/scenes --out demo/filled_by_base
	$(BIN)/miha optimize --data demo/scenes --run-dir demo/run --config demo.yaml --replace
	$(BIN)/miha fill demo/scenes/gapped/*.tif --run-dir demo/run --data demo/scenes --out demo/filled
	$(BIN)/miha evaluate --run-dir demo/run --data demo/scenes --json demo/metrics.json
	@echo "Open demo/run/report.html in a browser; the filled scenes are in demo/filled, those without training in demo/filled_by_base."

test: setup ## run all checks and tests (at most 12 minutes)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile -m "not slow"

test-slow: setup ## run what starts servers, clusters and browsers (half an hour)
	$(BIN)/pytest -m slow

docs: setup ## build the documentation into site/, offline; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html in a browser."

lock: setup ## write the versions installed now, extras too, into requirements.lock; on 3.11, which needs the most packages
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev,bench]'
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/(==[^+ ]+)\+.*/\1/' | grep -vE '^(nvidia|cuda|triton|setuptools)' > requirements.lock

clean: ## remove what the other targets made
	rm -rf .venv demo site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.PHONY: anew help setup demo test test-slow docs lock clean
