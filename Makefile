# Every target sets up what it needs from nothing: Python 3.11+, git and make are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
# Bytecode caches make the services start several times faster.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full check docs site bench campaign soak lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlops-reconciler needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^[^ #]/{on=/^uv==/} on' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP) ## create .venv and install the locked packages, hashes checked

demo: $(STAMP) ## reconcile manifests/ into real tools on this machine, run three pipelines, close the circle from drift to a new version
	@$(BIN)/reconcile --wait --timeout 900s
	@$(BIN)/reconcile status
	@$(BIN)/reconcile leaderboard
	@$(BIN)/reconcile forecasts
	@$(BIN)/reconcile predict --all
	@$(BIN)/reconcile run workflow/lora-finetuning/nightly --wait
	@$(BIN)/reconcile run workflow/federated-learning/digits-together --wait
	@$(BIN)/reconcile run workflow/federated-learning/turned-digits --wait
	@$(BIN)/python -m examples.circle

test: $(STAMP) ## all tests, against the real tools
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder tests

test-full: $(STAMP) ## the long matrices too
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --full tests

check: $(STAMP) ## lint, types, import rules, generated docs, the documentation's links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs: $(STAMP) ## write docs/reference/ and schemas again from the code
	$(BIN)/python -m docs.generate

site: $(STAMP) ## build the documentation as pages into build/site, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: $(STAMP) ## measure the budgets of the design, about 13 minutes; writes docs/performance.md
	$(BIN)/python -m benchmarks

campaign: $(STAMP) ## 500 random faults against a loop over real tools; ends with 1 when anything that must hold did not
	$(BIN)/python -m tests.campaign

soak: $(STAMP) ## half an hour of a loop at the pace of eight hours: memory, files, threads and calls have to be flat
	$(BIN)/python -m tests.soak

lock: $(STAMP) ## resolve requirements.lock again from pyproject.toml
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras pyproject.toml -o requirements.lock

clean: ## stop the demo's services and remove everything that make created here
	@test ! -x $(BIN)/reconcile || $(BIN)/reconcile platform down
	find benchmarks controllers docs examples reconciler schemas tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf $(VENV) .mlops build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
