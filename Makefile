# `make test` and `make bench` each work alone in a fresh checkout: virtual environment, dependencies, build, run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# PyTorch is an extra of fusedops. Without an NVIDIA GPU Linux gets the CPU build, which its own index carries.
TORCH_VERSION ?= 2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
ifeq ($(shell uname -s),Linux)
  ifeq ($(shell command -v nvidia-smi),)
    INSTALL_TORCH = $(BIN)/pip install -q torch==$(TORCH_VERSION)+cpu || \
      $(BIN)/pip install -q torch==$(TORCH_VERSION) --index-url $(TORCH_CPU_INDEX)
  endif
endif
INSTALL_TORCH ?= $(BIN)/pip install -q torch==$(TORCH_VERSION)

SOURCES := $(shell find csrc metal python sim CMakeLists.txt pyproject.toml -type f -not -name '*.pyc')
FORMATTED := $(shell find csrc metal sim -name '*.h' -o -name '*.cpp' -o -name '*.metal')

.PHONY: test fuzz sanitize bench lint format mac-wheel mac-wheel-inputs clean

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto

fuzz: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto tests/test_hypothesis.py --hypothesis-profile=fuzz
	$(BIN)/python -m pytest -n auto -m fuzz

# ASan, UBSan and TSan, on builds of their own: docs/verification.md.
sanitize: $(VENV)/.installed
	$(BIN)/python tests/sanitize/run.py

bench: $(VENV)/.installed
	$(BIN)/python bench/run.py --suite llama

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(FORMATTED)

# The wheel for Macs, cross-built on Linux x86-64 and checked: docs/mac-wheel.md. All that it fetches stays in build/.
MAC_WHEEL := build/mac-wheel
BUILD_MAC_WHEEL = $(MAC_WHEEL)/venv/bin/python cmake/macos/build_wheel.py $(MAC_WHEEL) --torch $(TORCH_VERSION)
mac-wheel: $(MAC_WHEEL)/venv/.installed
	$(BUILD_MAC_WHEEL)

mac-wheel-inputs: $(MAC_WHEEL)/venv/.installed
	$(BUILD_MAC_WHEEL) --only-fetch

$(MAC_WHEEL)/venv/.installed: cmake/macos/requirements.txt
	$(PYTHON) -m venv $(MAC_WHEEL)/venv
	$(MAC_WHEEL)/venv/bin/pip install -q -r cmake/macos/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build

$(VENV)/.frameworks:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(INSTALL_TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.frameworks $(SOURCES)
	$(BIN)/pip install -q '.[bench,dev]'
	touch $@
