# `make` lists the targets. Everything runs in .venv, which is made on first use.
PYTHON ?= python3
BIN := .venv/bin
# The entry points: every name that MLproject lists.
EXPERIMENTS := $(shell sed -n 's/^  \([a-z0-9-]*\):$$/\1/p' MLproject)
# Parameters for an experiment: make cnnv3 P="epochs=5 seed=1"
P ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)
RUN = tp1 store && mlflow run . --env-manager local $(foreach parameter,$(P),-P $(parameter)) -e

.DEFAULT_GOAL := help
.PHONY: help demo test $(EXPERIMENTS) ui reference mlproject clean
.PHONY: server-init test-long

help: ## Show this list
	@grep -E '^[a-z$$()A-Z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^\$$\(EXPERIMENTS\)/cnnv3 .../' \
	  | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "  Experiments: $(EXPERIMENTS)"

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(BIN)/.installed ## Install, train cnnv3 on the bundled digits (offline, 1 minute) and show the result
	@$(RUN) cnnv3 -P dataset=digits -P epochs=12
	@echo "Look at the run: make ui"

test: $(BIN)/.installed ## Install, then lint, type-check and test (offline, under 5 minutes)
	ruff format --check .
	ruff check .
	mypy
	OMP_NUM_THREADS=1 pytest -n auto --maxprocesses 4 --dist loadfile -m "not long"

test-long: $(BIN)/.installed ## The tests that take longer
	OMP_NUM_THREADS=1 pytest -m long

$(EXPERIMENTS): $(BIN)/.installed ## Run an experiment of the report: make cnnv3 P="seed=1 epochs=25"
	@$(RUN) $@

ui: $(BIN)/.installed ## Open the tracking UI on http://127.0.0.1:5000
	@uri=$$(tp1 store --quiet) && mlflow ui --backend-store-uri "$$uri"

server-init: $(BIN)/.installed ## Write random passwords for a team's server to .env (docs/SERVER.md)
	@tp1 server-init

reference: $(BIN)/.installed ## Load the real runs behind our figures into the tracking store
	@tp1 import reference

mlproject: $(BIN)/.installed ## Write MLproject anew, after adding a file to experiments/
	@tp1 mlproject

clean: ## Remove the environment and tool caches (not runs, not data)
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache
