# Everything a developer does. Needs Python >= 3.11, make and bash; the rest goes into .venv, with the
# exact versions of requirements/, and is brought up to date when these or pyproject.toml change.
# Another interpreter than the first that fits: make clean; make test PYTHON=python3.13

SHELL := bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
# Most tests wait for a broker, not for the processor: three at a time, on two cores.
# The longest first, so that none is left alone at the end.
PYTEST := pytest -q -n 3 --dist worksteal
DEMO := .venv/.demo
TEST := .venv/.test
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call stage,command): announced, and named again when it fails.
define stage
@echo '== $(1)'
@$(BIN)/$(1) || { echo '== FAILED: $(1)' >&2; exit 1; }
endef

# $(call install,what for,lock files): the files named by their hashes, then the project itself.
define install
@echo '== installing for $(1) into .venv'
@set -o pipefail; $(BIN)/python -m pip install --progress-bar off --require-hashes $(2) \
	| while read -r line; do case "$$line" in \
		Downloading*MB\)) echo "   $$line";; Installing*) echo '   Unpacking';; \
	  esac; done \
	|| { echo '== FAILED: see above. What has arrived is kept: the same command goes on from here.' >&2; \
	     exit 1; }
@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
endef

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

.PHONY: demo
demo: $(DEMO) ## a real Kafka, a pipeline, its outputs and a dead letter
	@$(BIN)/kafka-etl demo

.PHONY: demo-tasks
demo-tasks: $(DEMO) ## likewise long tasks: five are submitted, one is stopped
	@$(BIN)/kafka-etl demo --tasks

.PHONY: test
test: lint types $(TEST) ## lint, types and every test; stops at the first that fails
	$(call stage,$(PYTEST) tests/integration tests)

.PHONY: lint
lint: $(TEST) ## format, lint and import rules
	$(call stage,ruff format --check)
	$(call stage,ruff check)
	$(call stage,lint-imports --no-logo)

.PHONY: types
types: $(TEST) ## mypy and pyright, both strict
	$(call stage,mypy)
	$(call stage,pyright)

.PHONY: format
format: $(TEST) ## put the code into its form
	$(call stage,ruff check --fix-only)
	$(call stage,ruff format)

.PHONY: unit
unit: $(TEST) ## tests without Kafka
	$(call stage,$(PYTEST) $(wildcard tests/arch tests/property tests/typing tests/unit))

.PHONY: integration
integration: $(TEST) ## tests on a real Kafka, faults included
	$(call stage,$(PYTEST) $(wildcard tests/contract tests/faults tests/integration))

.PHONY: e2e
e2e: $(TEST) ## the command line, the examples, the wheel and deploy/
	$(call stage,$(PYTEST) tests/e2e)

.PHONY: docs
docs: $(TEST) ## the documentation as a site, in build/docs/
	$(call stage,python -m sphinx -W --keep-going -q docs build/docs)

.PHONY: dist
dist: $(TEST) ## what a release has: sdist, wheel and bill of materials, in dist/
	$(call stage,python -m build --no-isolation)
	$(call stage,cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --output-reproducible -o dist/kafka-etl.cdx.json)

.PHONY: bench
bench: $(TEST) ## figures beside a hand-written loop; some of them: SCENARIOS="json raw"
	$(call stage,python -m tests.bench $(SCENARIOS))

# What is wanted first decides: the others are parts of it, in the same versions.
COMPILE = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate
.PHONY: lock
lock: $(TEST) ## move requirements/ and the lock of Kafka to the newest versions allowed
	@echo '== locking'
	@$(COMPILE) --upgrade pyproject.toml --all-extras --group dev -o requirements/test.txt
	@$(COMPILE) -c requirements/test.txt pyproject.toml -o requirements/run.txt
	@$(COMPILE) -c requirements/test.txt pyproject.toml --extra broker -o requirements/demo.txt
	@$(COMPILE) -c requirements/test.txt --group build -o requirements/build.txt
	@$(BIN)/python -m kafka_etl.broker.lock

.PHONY: clean
clean: ## remove .venv and everything else that was made here
	rm -rf .venv .*_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(DEMO): requirements/build.txt requirements/demo.txt pyproject.toml | $(BIN)/python
	$(call install,the demo,-r requirements/build.txt -r requirements/demo.txt)
	@touch $@

$(TEST): requirements/test.txt pyproject.toml | $(BIN)/python
	$(call install,the tests,-r requirements/test.txt)
	@echo '== Apache Kafka for the tests (54 MB, once)'
	@set -o pipefail; $(BIN)/python -c 'from kafka_etl.broker import classpath; classpath()' 2>&1 \
		| tail -n 2 >&2
	@echo '== Apicurio, a schema registry, for the tests (159 MB, once)'
	@set -o pipefail; $(BIN)/python -m tests.kit.apicurio 2>&1 | tail -n 2 >&2
	@touch $(DEMO) $@

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'No Python >= 3.11 on the PATH: make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo '== making .venv with $(PYTHON)'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }
