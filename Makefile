# make setup | quickstart | learning-check | test | lint | clean | help. All lies in .venv and outputs/ here.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup quickstart learning-check test lint clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS ?= dev,launchers,report
# Without a GPU the CPU build of torch is taken from here; the default index is the fallback.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(PY) -m pip install --disable-pip-version-check -qq

help:
	@echo "make setup       virtual environment in .venv, pinned by constraints.txt (once)"
	@echo "make quickstart  a real ablation of from-scratch models on this machine, and its report"
	@echo "make learning-check  does every objective learn? 21 runs of the smallest model, about half an hour"
	@echo "make test        lint, types and tests"
	@echo "make lint        ruff and mypy alone"
	@echo "make clean       delete .venv and caches; outputs/ stays"
	@echo "variables: PYTHON=python3.12  TORCH_INDEX=<index of CPU builds>  EXTRAS=dev,launchers,report,vllm"

setup: $(STAMP)

# The first Python >= 3.11 that runs; a name on the path may be a shim without a Python behind it.
$(STAMP): pyproject.toml constraints.txt
	@set -e; found=""; \
	for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then found="$$candidate"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "error: no Python >= 3.11 with venv found; install one, or name it: make setup PYTHON=/path/to/python3" >&2; \
	  exit 2; \
	fi; \
	if ! $(PY) -c 'import pip' >/dev/null 2>&1; then \
	  echo "setup: virtual environment in $(VENV) with $$("$$found" --version)"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	@set -e; torch=$$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt); \
	if $(PY) -c "import importlib.metadata as m, sys; \
	    sys.exit(m.version('torch').split('+')[0] != '$$torch'.split('==')[1])" >/dev/null 2>&1; then \
	  echo "setup: $$torch is there"; \
	elif nvidia-smi -L >/dev/null 2>&1; then \
	  echo "setup: $$torch for the GPU"; $(PIP) -c constraints.txt "$$torch"; \
	else \
	  echo "setup: $$torch for CPUs from $(TORCH_INDEX)"; \
	  $(PIP) --no-deps --index-url "$(TORCH_INDEX)" --timeout 15 --retries 0 "$$torch" 2>/dev/null \
	  || { echo "setup: not there; from the default index"; $(PIP) -c constraints.txt "$$torch"; }; \
	fi
	@echo "setup: the other packages (about 1 GB; a few minutes)"
	@$(PIP) -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $(STAMP)
	@echo "setup: done"

quickstart: setup
	@$(PY) -m harness ablation=quickstart
	@$(PY) -m analysis report outputs/quickstart

learning-check: setup
	@$(PY) -m harness ablation=learning_check
	@$(PY) -m analysis report outputs/learning_check

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint
	$(PY) -m pytest -n 2

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
