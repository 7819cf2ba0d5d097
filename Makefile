# Everything runs in .venv, which `make install` makes. `make` alone lists the targets.
#   PYTHON=python3.13   the interpreter for a new .venv (3.11 or newer)
#   ARGS="…"            more arguments for `make demo`, `make bench`, `make bench-large` and `make bench-shards`
#   MINUTES=20 SEED=n   how long `make soak` runs, and what goes wrong in it: another seed each time without one
#   REDIS=… SHARDS=n    its Redis (always, everysec or sentinel) and the queue's shards: by the seed without them
#   TEST_PROCESSES=3    tests wait more than they compute, so more processes than cores; 0 for one, as a debugger wants
#   PYTEST_ARGS="…"     more arguments for pytest in `make test`
#   LOCK_ARGS="…"       more arguments for `make lock`, such as --upgrade

PYTHON ?= python3
MINUTES ?= 20
TEST_PROCESSES ?= 3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .bench
PEERS_STAMP := $(PEERS)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo bench bench-large bench-shards test test-ops soak lint docs monitoring chart dashboard pictures lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with everything pinned and Penstock editable

# uv when it is there: 1 s instead of half a minute. A .venv made by one is usable by the other: uv leaves pip
# out of it, so plain pip makes a new one when there is none inside.
$(STAMP): pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Penstock needs Python 3.11 or newer, and '$(PYTHON)' is not. Name one: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }
	@set -e; if command -v uv >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV); \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); \
	  $(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt; \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@

demo: install ## Run the whole of Penstock on this machine, on servers it starts itself
	$(BIN)/penstock demo $(ARGS)

bench: install $(PEERS_STAMP) ## Penstock's speed beside its peers' (ARGS="--quick", --list, --only, --json, --pictures)
	$(BIN)/python -m benchmarks $(ARGS)

# What Penstock is compared with, in an environment of its own: none of it is a dependency.
$(PEERS_STAMP): benchmarks/peers/requirements.txt | $(STAMP)
	@set -e; if command -v uv >/dev/null 2>&1; then \
	  test -x $(PEERS)/bin/python || uv venv --quiet --clear --python $(BIN)/python $(PEERS); \
	  uv pip install --quiet --python $(PEERS)/bin/python --require-hashes -r $<; \
	else \
	  $(PEERS)/bin/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m venv --clear $(PEERS); \
	  $(PEERS)/bin/python -m pip install --quiet --require-hashes -r $<; \
	fi
	@touch $@

bench-large: install ## The slowest call of each script on a queue of 1,000,000 writes and 5,000 tenants (minutes, 1 GB)
	$(BIN)/python -m benchmarks.large_queue $(ARGS)

bench-shards: install ## What a write costs Redis, and so how many a shard takes
	$(BIN)/python -m benchmarks.shards $(ARGS)

bench-spool: install ## What a spool costs while Redis is well, and what a put takes while it is away
	$(BIN)/python -m benchmarks.spool $(ARGS)

test: lint ## Lint, then run all tests
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-ops: install ## The tests that need Debian's Prometheus and Alertmanager, which it fetches into .ops
	tests/ops/packages.sh
	$(BIN)/pytest tests/ops $(PYTEST_ARGS)

soak: install ## The faults of all tests in random mixture for MINUTES, judged by the oracle
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(REDIS),--redis $(REDIS)) $(if $(SHARDS),--shards $(SHARDS))

lint: install ## Style, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install ## Write docs/settings.md and systemd/penstock.env.example anew from the code
	$(BIN)/python -m penstock_worker.settings_page > docs/settings.md.new && mv docs/settings.md.new docs/settings.md
	$(BIN)/python -m penstock_worker.settings_env > systemd/penstock.env.new && mv systemd/penstock.env.new systemd/penstock.env.example

monitoring: install ## Write the alert rules, their page and what the chart takes of them anew from the code
	$(BIN)/python -m penstock_worker.alerts.files

chart: monitoring ## Write what the chart's values and their schema take from the code
	$(BIN)/python -m helm.schema

dashboard: install ## Write monitoring/dashboard.json anew from its script
	$(BIN)/python -m monitoring.dashboard

pictures: install ## Draw docs/images anew, from six minutes of a queue under load (needs what test-ops fetches)
	tests/ops/packages.sh
	$(BIN)/python -m tests.ops.story

# Versions and hashes only: neither a package index's name nor a path of the machine it was made on. The image's two
# locks are parts of the first, so that an image holds what the tests ran on.
COMPILE := uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
  --python-version 3.11 --custom-compile-command "make lock" $(LOCK_ARGS)
lock: ## Write all pinned requirements anew (needs uv)
	@command -v uv >/dev/null 2>&1 || { echo "make lock needs uv (https://docs.astral.sh/uv/)" >&2; exit 1; }
	$(COMPILE) --extra dev --output-file requirements-dev.txt pyproject.toml
	$(COMPILE) --constraint requirements-dev.txt --extra worker --output-file requirements-worker.txt pyproject.toml
	$(COMPILE) --constraint requirements-dev.txt --group build --output-file requirements-build.txt
	$(COMPILE) --constraint requirements-dev.txt --output-file benchmarks/peers/requirements.txt benchmarks/peers/requirements.in

clean: ## Remove .venv, caches and builds
	rm -rf $(VENV) $(PEERS) .ops build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
