# make demo   train on the Freedoom band pieces and write new music into out/
# make test   run the tests            make test-all   the slow ones too
# make lint   ruff and mypy            make bench      benchmarks
# make docs   write docs/families.md from the code
# Each creates .venv when it is missing. Python 3.11 or newer and git are enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint docs bench clean

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or run make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: musegen needs Python 3.11 or newer (make PYTHON=…)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python -m musegen_pianoroll.demo --out out

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

test-all: $(INSTALLED)
	HYPOTHESIS_PROFILE=random $(BIN)/python -m pytest -n 2 -m 'slow or not slow'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python docs/generate.py

# Without those that train models for hours (polyphonic.py, mnist_figures.py) and the one for a GPU (gpu.py).
bench: $(INSTALLED)
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/autoregressive_sampling.py
	$(BIN)/python benchmarks/curves.py
	$(BIN)/python benchmarks/batching.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/reading.py

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache
