# Everything runs in .venv, which is made on first use. Needed: Python 3.10+, Rust with cargo, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BENCH_VENV := .bench-venv
INTEROP_VENV := .interop-venv
# Tests run in as many processes as there are processors (four at most, which memory holds), each
# with one thread for linear algebra: matrices are small. `make test WORKERS=0` is one process.
WORKERS ?= auto
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 4 \
  --dist worksteal
# Arguments of benches/compare.py.
BENCH ?= --workloads W1,W2,W10,W12_1e4,W3

RUST := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

.PHONY: help demo test test-all lint bench check interop docs torture fuzz dist clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/installed  ## fit a model to real data and print it
	@$(BIN)/mlmfast demo

test: $(VENV)/installed $(VENV)/test  ## Rust and Python tests
	cargo test --quiet --lib --profile develop
	$(PYTEST) -m "not slow"

test-all: $(VENV)/installed $(VENV)/test  ## the slow tests too: calibration
	cargo test --quiet --lib --profile develop
	$(PYTEST)

lint: $(VENV)/installed $(VENV)/test $(VENV)/lint  ## formatting, lints and types
	@cargo fmt --version > /dev/null 2>&1 || \
	  { echo "rustfmt is missing; install it with: rustup component add rustfmt"; exit 1; }
	@cargo clippy --version > /dev/null 2>&1 || \
	  { echo "clippy is missing; install it with: rustup component add clippy"; exit 1; }
	cargo fmt --check
	cargo clippy --quiet --profile develop --all-targets --features python -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest mlmfast._core

check: lint test  ## what CI runs

interop: $(VENV)/installed $(INTEROP_VENV)/installed  ## scikit-learn, marginaleffects, tables: other polars
	PYTHONPATH=python OPENBLAS_NUM_THREADS=1 $(INTEROP_VENV)/bin/python -m pytest -q tests/interop \
	  python/mlmfast/sklearn python/mlmfast/marginaleffects python/mlmfast/maketables \
	  python/mlmfast/stargazer

docs: $(VENV)/installed $(VENV)/docs  ## the site, into site/: examples are run, links checked
	NO_MKDOCS_2_WARNING=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m mkdocs build --strict --quiet

torture: $(VENV)/installed $(VENV)/test  ## odd inputs, signals, forks and limits at random, ten minutes
	$(BIN)/python -m tests.torture $(TORTURE)

bench: $(VENV)/installed $(VENV)/test $(BENCH_VENV)/installed  ## time a release build against other packages
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --quiet
	$(BIN)/python benches/compare.py --peers-python $(BENCH_VENV)/bin/python $(BENCH)

fuzz: $(VENV)/installed $(VENV)/test $(VENV)/fuzz  ## random kernels, formulas, files, statements, ten minutes
	PROPTEST_CASES=4000 cargo test --quiet --lib --profile develop linalg::properties
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(FUZZ)

dist:  ## wheel and source distribution in dist/, tested in fresh environments: ten minutes
	$(PYTHON) release/build.py

clean:  ## remove everything that was built
	rm -rf $(VENV) $(BENCH_VENV) $(INTEROP_VENV) target dist site .pytest_cache .mypy_cache .ruff_cache
	rm -f python/mlmfast/_core*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/created:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found; try make PYTHON=..."; exit 1; }
	@command -v cargo > /dev/null || { echo "cargo not found; install Rust 1.85 or later"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than Python 3.10; try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install 'maturin>=1.16,<2'
	@touch $@

# Editable: changes of Python files need nothing, changes of Rust files a new build.
$(VENV)/installed: $(VENV)/created pyproject.toml $(RUST)
	@echo "building the Rust core: one to three minutes"
	@VIRTUAL_ENV=$(abspath $(VENV)) PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  $(BIN)/maturin develop --profile develop --quiet
	@touch $@

$(VENV)/test: $(VENV)/created pyproject.toml
	$(PIP) install --group test
	@touch $@

$(VENV)/fuzz: $(VENV)/created pyproject.toml
	$(PIP) install --group fuzz
	@touch $@

$(VENV)/lint: $(VENV)/created pyproject.toml
	$(PIP) install --group lint
	@touch $@

$(VENV)/docs: $(VENV)/created pyproject.toml
	$(PIP) install --group docs
	@touch $@

$(INTEROP_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(INTEROP_VENV)
	$(INTEROP_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(INTEROP_VENV)/bin/python -m pip install --quiet --group interop
	@touch $@

$(BENCH_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(BENCH_VENV)/bin/python -m pip install --quiet --group peers
	@touch $@
