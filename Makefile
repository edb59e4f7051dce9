# make demo   train on the Freedoom band pieces and write new music into out/
# make test   run the tests            make test-all   the slow ones too
# make lint   ruff and mypy            make bench      benchmarks
# make docs   write docs/families.md and docs/limits.md from the code
# make docs-site   the documentation as a site, in build/site
# make mutants  see whether tests notice small faults
# Each creates .venv when it is missing, and adds to it what it needs. Python 3.11 or newer and git are enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Stamps of what .venv has: musegen, also what tests need, also what developing needs.
RUN := $(VENV)/.installed-run
TEST := $(VENV)/.installed-test
DEV := $(VENV)/.installed-dev

.PHONY: demo test test-all lint docs docs-site bench mutants clean

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or run make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: musegen needs Python 3.11 or newer (make PYTHON=…)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(TEST): EXTRA := [test]
$(TEST): HAS := $(RUN)
$(DEV): EXTRA := [dev]
$(DEV): HAS := $(RUN) $(TEST)
$(RUN) $(TEST) $(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(EXTRA)'
	@touch $(HAS) $@

demo: $(RUN)
	$(BIN)/python -m musegen_pianoroll.demo --out out

test: $(TEST)
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(DEV)
	HYPOTHESIS_PROFILE=random $(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow or not slow'

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(RUN)
	$(BIN)/python docs/generate.py

# A broken link is an error. Pages are those of docs/, README.md and CONTRIBUTING.md.
docs-site: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Without those that train models for hours (polyphonic.py, mnist_figures.py) and the one for a GPU (gpu.py).
bench: $(RUN)
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/autoregressive_sampling.py
	$(BIN)/python benchmarks/curves.py
	$(BIN)/python benchmarks/batching.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/studio.py

# Small faults, one at a time: do the tests notice? Takes an hour; what is done is kept in mutants.jsonl.
mutants: $(TEST)
	$(BIN)/python benchmarks/mutants.py

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache
