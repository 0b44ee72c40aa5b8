# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make run    set up, run the tour on real data, print the leaderboard, write results/index.html
#   make test   set up, run the tests
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet
# Tests run in that many processes, each of up to 4 GB; one that is done takes over tests of another. One more than two
# processors, since tests of Ray, of which only one runs at a time, wait more than they compute.
WORKERS ?= 3
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: run test fast nightly lint check perf gpu gpu-wheels clean

run: $(VENV)/.run
	$(BIN)/bench tour

test: $(VENV)/.dev
	$(PYTEST)

# The fast tests: about a minute.
fast: $(VENV)/.dev
	$(PYTEST) -m "not slow and not perf and not nightly"

# Tests of minutes that guard what seldom changes, one after the other; and that every row answers the same twice.
nightly: $(VENV)/.dev
	$(BIN)/python -m pytest -m nightly
	$(BIN)/bench check

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The contract over every registered row, on small data; with CHECK=--once each row runs once, in half of the time.
check: $(VENV)/.dev
	$(BIN)/bench check $(CHECK)

# Benchmarks against peers, in the same run; prints ratios.
perf: $(VENV)/.dev
	$(BIN)/python -m pytest -m perf -s tests/perf

# What only a GPU can show, in ten minutes: its tests, the smoke profile on it, training steps. A second call resumes.
gpu: $(VENV)/.dev
	$(BIN)/python scripts/gpu.py

# Gathers what a GPU machine without network lacks, as wheels, and says how to install them there.
gpu-wheels: $(VENV)/.dev
	$(BIN)/python scripts/wheels_for_gpu.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gridbench needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing gridbench into $(VENV) (a few minutes, several GB: torch and Ray)"
	$(PIP) -c constraints.txt -e ".[laptop]"
	touch $@

# In one go, since pip would resolve and build everything twice. pip compiles the 20,000 modules one by one, which is a
# good part of its time; compileall takes all processors, and leaves out what nothing here imports, a quarter of all.
# It exits with 1 for templates that are no valid Python.
UNUSED = /tests?/|/diffusers/pipelines/|/transformers/models/(?!auto|bert|clip)
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing gridbench and all that it is tested with into $(VENV) (a few minutes, several GB: torch and Ray)"
	$(PIP) --no-compile -c constraints.txt -e ".[dev]"
	$(BIN)/python -m compileall -q -q -j 0 -x '$(UNUSED)' $(VENV)/lib || true
	touch $(VENV)/.run $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
