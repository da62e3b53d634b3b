# Every target works from a clean clone with only Python (>= 3.10) and make; the virtual
# environment is made once and again only when pyproject.toml changes.

ifndef PYTHON
PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$name && break; \
	done)
endif
VENV := .venv
BIN := $(VENV)/bin
# What is not compiled here is compiled when it is imported first, and kept, whatever the shell says:
# hundreds of processes import the same.
export PYTHONDONTWRITEBYTECODE :=
INSTALL := $(BIN)/python -m pip install --quiet --quiet --no-compile --disable-pip-version-check \
	--root-user-action=ignore
# With the plugins that are used here: of any other whole packages would be compiled anew, ours too.
PYTEST := $(BIN)/pytest --disable-plugin-autoload -p xdist -p pytest_timeout \
	-p _hypothesis_pytestplugin -p armoflow.integrations.pytest_plugin
SUITE := --doctest-modules armoflow tests
# Of pytest; more than processors, since some tests wait.
WORKERS ?= 3
EXAMPLES ?= 2000
PYTHONS ?= 3.10 3.12 3.13 3.14

.DEFAULT_GOAL := help
.PHONY: help demo test lint campaign fuzz properties interop bench pictures cli-page docs docs-version dist matrix clean

help:
	@echo "make demo    install armoflow and draw a picture with it"
	@echo "make test    everything that must hold: lint, types, tests, examples, documentation"
	@echo "make lint    ruff, mypy and the layers alone"
	@echo "make fuzz    throw $(EXAMPLES) odd messages at each door of the engine"
	@echo "make properties  try what must hold for anything on 2000 other examples each"
	@echo "make interop  all of dask's own tests of its collections, and joblib's, on armoflow"
	@echo "make campaign  kill processes in 200 rounds, play 100 on an engine as unruly as a"
	@echo "               real one, and count what that costs"
	@echo "make bench   measure, here and now"
	@echo "make pictures  take the documentation's pictures of pages (with Chromium)"
	@echo "make cli-page  run the commands of docs/cli.md, and write there what they print"
	@echo "make docs    build the documentation into site/"
	@echo "make docs-version  the same beside that of earlier versions, on the branch gh-pages"
	@echo "make dist    build a wheel and sources into dist/, and check what an index would say"
	@echo "make matrix  run tests with each of Python $(PYTHONS) that is found"
	@echo "make clean   remove what these targets made"

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "armoflow needs Python 3.10 or later: none was found;" \
		"name one with 'make PYTHON=/path/to/python'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "armoflow needs Python 3.10 or later: $(PYTHON) is" \
		"$$($(PYTHON) --version 2>&1)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "cannot make a virtual environment: on Debian and Ubuntu," \
		"'apt install python3-venv' adds what is missing" >&2; exit 1; }
	@# The newest takes half the time of what comes with Python; that does too, where there is no other.
	@$(INSTALL) --upgrade pip || true
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(INSTALL) --editable .
	@touch $@

# An extra is installed with the package: one stamp each.
$(VENV)/.installed-%: $(VENV)/.made pyproject.toml
	$(INSTALL) --editable '.[$*]'
	@touch $@ $(VENV)/.installed

# On this machine, wherever the shell says that a cluster is.
demo: $(VENV)/.installed
	@env -u ARMOFLOW_ENDPOINT -u AK_ENDPOINT -u AKCONFIG $(BIN)/python examples/mandelbrot.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# All that tests import, compiled by one process: pytest's workers would each compile all of it.
$(VENV)/.compiled: $(VENV)/.installed-dev
	@$(PYTEST) --collect-only -qq $(SUITE) >/dev/null
	@touch $@

# The linters first: pytest's closing line is the last one printed.
test: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory --jobs 2 lint $(VENV)/.compiled
	$(PYTEST) -n $(WORKERS) --dist worksteal $(SUITE)

# Every suite of the kind with many examples; each prints its counts.
fuzz: $(VENV)/.installed-dev
	FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q --timeout 0 -k fuzz tests/engine tests/worker

# Every test of what must hold for anything, with 2000 other examples each time.
properties: $(VENV)/.installed-dev
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -q -n $(WORKERS) --timeout 0 -m hypothesis tests

interop: $(VENV)/.installed-dev
	INTEROP=full $(BIN)/pytest -q --timeout 1800 tests/interop

campaign: $(VENV)/.installed-dev
	$(BIN)/python -m tests.campaign
	$(BIN)/python -m tests.campaign.cluster

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.micro.doors
	$(BIN)/python -m benchmarks.micro.inline
	$(BIN)/python -m benchmarks.cluster
	$(BIN)/python -m benchmarks.latency

# What the documentation shows of pages, by a browser.
pictures: $(VENV)/.installed-dev
	$(BIN)/python -m tests.dashboard.screenshots docs/images

# What the page about the command line shows that commands print.
cli-page: $(VENV)/.installed-dev
	$(BIN)/python -m tests.docs.cli_page

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

# mike looks for mkdocs where commands are.
MIKE := NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/mike

docs-version: docs
	$(MIKE) --quiet deploy --update-aliases \
		"$$($(BIN)/python -c 'from armoflow.version import __version__; print(__version__)')" latest
	$(MIKE) set-default latest
	@echo "branch gh-pages: $$($(MIKE) list | tr '\n' ' ')"

dist: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(BIN)/twine check --strict dist/*

# What depends on the interpreter most: bytecode, pickles, keys, child processes.
MATRIX := tests/codec tests/cache tests/graph tests/agent tests/integration/test_env.py \
	tests/integration/test_calls.py tests/integration/test_requirements.py \
	tests/integration/test_package_versions.py

# Interpreters that uv finds, or that pyenv has: those are on no PATH.
matrix: $(VENV)/.installed-dev
	@for version in $(PYTHONS); do \
		python=$$($(BIN)/uv python find --no-python-downloads $$version 2>/dev/null \
			|| ls "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
		test -n "$$python" || { echo "Python $$version: not found here"; continue; }; \
		echo "Python $$version: $$python"; \
		$(BIN)/uv venv --quiet --clear --python $$python $(VENV)/matrix-$$version \
			&& $(BIN)/uv pip install --quiet --python $(VENV)/matrix-$$version --editable '.[dev]' \
			&& $(VENV)/matrix-$$version/bin/python -m pytest -q -n $(WORKERS) $(MATRIX) || exit 1; \
	done

clean:
	rm -rf $(VENV) site dist build examples/output .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
