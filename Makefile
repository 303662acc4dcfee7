# Needs Python 3.11 or newer and make; everything else is installed into .venv from the lock files, once.
#
#   make run                          ask the default organism
#   make run ARGS="--json"            the same, with arguments for `organism run`
#   make test PYTHON=python3.13 VENV=.venv/3.13     with another Python

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PEERS ?=
UV ?= uv
AIMOCK := 1.43.0
ATHERIS := 3.0.0
FUZZ_SECONDS ?= 600

BIN := $(VENV)/bin
CODE := organism handlers tests benchmarks
LONG := "budget.py" "soak.py" "chaos.py" "machine.py" "estimates.py" "gateway.py" "journal.py" "durable.py durable-steps" "recovery.py" "crash.py" "streams.py"
FUZZED := xml_document json_document free_text configuration journal_entry journal_lines sealed_lines sqlite_chain sqlite_body \
	recording order request
LOCK := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# PyPI's pyright asks the network whether it is the newest, and would fetch another one if told a version.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
unexport PYRIGHT_PYTHON_FORCE_VERSION
# Each process that the tests start would compile the package anew; .gitignore and `make clean` know what is written.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check coverage bench compiled endure fuzz format lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.run ## ask the default organism (no key, no network); ARGS="..." goes to `organism run`
	@$(BIN)/organism run $(ARGS)

test: check $(VENV)/.aimock ## linters, type checkers and all tests
	$(call heading,pytest)
	@$(BIN)/pytest -n auto $(ARGS)

check: $(VENV)/.test ## linters and type checkers only
	$(call heading,ruff check)
	@$(BIN)/ruff check .
	$(call heading,ruff format --check)
	@$(BIN)/ruff format --check .
	$(call heading,mypy)
	@$(BIN)/mypy
	$(call heading,pyright)
	@$(BIN)/pyright --pythonpath $(BIN)/python

coverage: $(VENV)/.test ## which lines and branches the tests do not reach
	@$(BIN)/coverage run -m pytest $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

bench: $(VENV)/.bench ## the figures of docs/performance.md; PEERS=DIR adds others; ARGS="soak.py 10000 2" runs one benchmark alone
	@$(BIN)/python benchmarks/$(if $(ARGS),$(ARGS),report.py $(if $(PEERS),--peers "$(PEERS)"))

compiled: $(VENV)/.bench ## measure the kernel compiled to C beside the same sources as they are; ARGS=test runs its tests (needs a C compiler)
	@$(BIN)/python benchmarks/compiled.py $(ARGS)

endure: $(VENV)/.test ## the long trials: every law under load, crashes, cuts
	@set -e; for each in $(LONG); do printf '\n== %s ==\n' "$$each"; $(BIN)/python benchmarks/$$each; done

fuzz: $(VENV)/.fuzz ## fuzz each reader of bytes from outside for FUZZ_SECONDS=600; ARGS="xml_document" for one
	@set -e; for each in $(if $(ARGS),$(ARGS),$(FUZZED)); do \
		printf '\n== %s ==\n' "$$each"; $(BIN)/python -m tests.fuzz.with_atheris $$each $(FUZZ_SECONDS); done

format: $(VENV)/.test ## format the code and repair what the linter can
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

lock: ## pin what pyproject.toml asks for (needs uv); ARGS=--upgrade takes the newest of everything
	$(LOCK) $(ARGS) --group build --group dev --output-file requirements-dev.lock
	$(LOCK) --group build --constraint requirements-dev.lock --output-file requirements.lock
	$(LOCK) --group build --group dev --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock

clean: ## remove caches and builds; .venv stays
	rm -rf build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(CODE) -type d -name __pycache__ -prune -exec rm -rf {} +

define heading
@printf '\n== %s ==\n' '$(1)'
endef

# Installs quietly from a lock file and then the project itself; everything pip said is shown when it fails.
define install
@echo "installing $(1) into $(VENV) (once; again when $(1) or pyproject.toml change)"
@{ $(BIN)/python -m pip install --require-hashes --requirement $(1) && \
   $(BIN)/python -m pip install --no-deps --no-build-isolation --editable . ; \
 } > $(VENV)/install.log 2>&1 || { cat $(VENV)/install.log >&2; exit 1; }
endef

# The stamps: nothing is installed as long as they are younger than what they were made from.
$(VENV)/.run: requirements.lock pyproject.toml $(VENV)/pyvenv.cfg
	$(call install,requirements.lock)
	@touch $@

# requirements-dev.lock holds all of requirements.lock, in the same versions.
$(VENV)/.test: requirements-dev.lock pyproject.toml $(VENV)/pyvenv.cfg
	$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/.run

# Follows what the code does; needed for nothing else.
$(VENV)/.fuzz: $(VENV)/.test
	@$(BIN)/python -m pip install atheris==$(ATHERIS) > $(VENV)/fuzz.log 2>&1 || { \
		echo "atheris $(ATHERIS) could not be installed (see $(VENV)/fuzz.log): it comes for Linux, with Python 3.11 to 3.13;" \
			"'make test ARGS=tests/fuzz' fuzzes a little without it" >&2; exit 1; }
	@touch $@

# requirements-bench.lock holds all of requirements-dev.lock, and what draws.
$(VENV)/.bench: requirements-bench.lock pyproject.toml $(VENV)/pyvenv.cfg
	$(call install,requirements-bench.lock)
	@touch $@ $(VENV)/.test $(VENV)/.run

# A mock server of both protocols, for some of the tests; where it cannot be had they are skipped and say so.
$(VENV)/.aimock: $(VENV)/pyvenv.cfg
	@if ! command -v npm > /dev/null; then echo "npm is not here: the tests against aimock are skipped"; \
	elif npm install --prefix $(VENV)/aimock --no-audit --no-fund --ignore-scripts --fetch-retries=1 --fetch-timeout=20000 @copilotkit/aimock@$(AIMOCK) \
		> $(VENV)/aimock.log 2>&1; then touch $@; \
	else echo "aimock could not be installed (see $(VENV)/aimock.log): the tests against it are skipped"; fi

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
		found=$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2> /dev/null) || found='no Python'; \
		echo "organism needs Python 3.11 or newer; '$(PYTHON)' is $${found:-no Python}; choose one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }
