# `make` lists the targets. Everything runs in .venv, which is made on first use.
PYTHON ?= python3
BIN := .venv/bin
# The entry points: every name that MLproject lists.
EXPERIMENTS := $(shell sed -n 's/^  \([a-z0-9-]*\):$$/\1/p' MLproject)
# Parameters for an experiment: make cnnv3 P="epochs=5 seed=1"
P ?=
# Tests at a time: one more than there are processors, since some wait for a server or another process; four at most.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 3 ? n + 1 : 4)))
export PATH := $(CURDIR)/$(BIN):$(PATH)
RUN = tp1 store --quiet > /dev/null && MLFLOW_LOGGING_LEVEL=WARNING mlflow run . --env-manager local $(foreach parameter,$(P),-P $(parameter)) -e

.DEFAULT_GOAL := help
.PHONY: help demo test bench docs pictures $(EXPERIMENTS) ui reference mlproject clean
.PHONY: server server-init server-backup server-restore test-long
# Where server-backup writes to, and server-restore reads from.
TO ?= backups/$(shell date -u +%Y-%m-%dT%H%M%SZ)
FROM ?=

help: ## Show this list
	@grep -E '^[a-z$$()A-Z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^\$$\(EXPERIMENTS\)/cnnv3 .../' \
	  | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "  Experiments: $(EXPERIMENTS)"

$(BIN)/.installed: pyproject.toml
	@echo "Installing into .venv: some minutes the first time (details: .venv/install.log) ..."
	@$(PYTHON) -m venv .venv
	@{ $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	   $(BIN)/python -m pip install --quiet --editable . --group dev; } > .venv/install.log 2>&1 \
	  || { cat .venv/install.log >&2; exit 1; }
	@touch $@

demo: $(BIN)/.installed ## Install, train cnnv3 on the bundled digits (offline, 1 minute) and show the result
	@$(RUN) cnnv3 -P dataset=digits -P epochs=4
	@echo
	@echo "What next? First: . .venv/bin/activate"
	@echo "  make ui                          look at this run in the browser"
	@echo "  make reference report            the report's runs, tables and figures, from their records"
	@echo "  make cnnv3                       the same network on CIFAR-10 (a download, then 12 minutes)"
	@echo "  make cnnv3 P=\"dataset=FOLDER\"    the same network on your own images, one folder for each class"
	@echo "  tp1 --help                       all commands"

test: $(BIN)/.installed ## Install, then lint, type-check and test (offline, under 5 minutes)
	ruff format --check .
	ruff check .
	mypy
	OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-long: $(BIN)/.installed ## The tests that take longer
	$(BIN)/python -m pip install --quiet --group cluster
	OMP_NUM_THREADS=1 pytest -m long -n auto --maxprocesses 4 --dist loadfile
	OMP_NUM_THREADS=1 TP1_ALL_CASES=1 pytest -k hostile -n auto --maxprocesses 4 --dist loadfile

docs: $(BIN)/.installed ## Build the site from docs/ and the docstrings into docs/_build (offline; a warning is an error)
	@rm -rf docs/_build docs/reference/python
	@python -m sphinx -b html -q -W --keep-going docs docs/_build
	@echo "Open docs/_build/index.html"

pictures: $(BIN)/.installed ## Take README's pictures anew (needs Chromium, and two minutes)
	@python -m docs.pictures

bench: $(BIN)/.installed ## Measure side by side, and write docs/BENCHMARKS.md (half an hour, on a machine that does nothing else)
	$(BIN)/python -m pip install --quiet --group bench
	python -m benchmarks $(P)

# As in `tp1` and `python -m experiments`; `mlflow run` alone would take Default.
$(EXPERIMENTS) demo: export MLFLOW_EXPERIMENT_NAME := $(or $(MLFLOW_EXPERIMENT_NAME),$(if $(MLFLOW_EXPERIMENT_ID),,tp1))
$(EXPERIMENTS): $(BIN)/.installed ## Run an experiment of the report: make cnnv3 P="seed=1 epochs=25"
	@$(RUN) $@

ui: $(BIN)/.installed ## Open the tracking UI on http://127.0.0.1:5000
	@uri=$$(tp1 store --quiet) && mlflow ui --backend-store-uri "$$uri"

server: $(BIN)/.installed ## A tracking server for this machine, without containers: SQLite and a local folder
	@uri=$$(tp1 store --quiet) && mlflow server --host 127.0.0.1 --port 5000 --workers 2 \
	  --backend-store-uri "$$uri" --artifacts-destination mlartifacts

server-init: $(BIN)/.installed ## Write random passwords for a team's server to .env (docs/SERVER.md)
	@tp1 server-init

# The database first: what it knows of is then among the objects. Files carry their name only when they are whole.
server-backup: ## Copy a running team server's database and objects: make server-backup TO=backups/monday
	@umask 077 && mkdir -p "$(TO)" && rm -f "$(TO)"/*.partial
	@umask 077 && docker compose exec -T database pg_dump --username=tp1 --format=custom tp1 > "$(TO)/database.partial"
	@umask 077 && docker compose run --rm -T bucket save > "$(TO)/objects.partial"
	@mv "$(TO)/database.partial" "$(TO)/database.dump" && mv "$(TO)/objects.partial" "$(TO)/objects.tar"
	@echo "Database and objects are in $(TO)."

server-restore: ## Put a backup back, in place of what the team server has: make server-restore FROM=backups/monday
	@test -s "$(FROM)/database.dump" && test -s "$(FROM)/objects.tar" || \
	  { echo "Error: FROM=$(FROM) is no whole backup: it needs database.dump and objects.tar." >&2; exit 1; }
	@docker compose stop tracking
	@docker compose run --rm -T bucket load < "$(FROM)/objects.tar"
	@docker compose exec -T database pg_restore --username=tp1 --dbname=tp1 --clean --if-exists --exit-on-error \
	  --single-transaction < "$(FROM)/database.dump"
	@docker compose up --detach --wait tracking
	@echo "The server is as it was in $(FROM)."

reference: $(BIN)/.installed ## Load the real runs behind our figures into the tracking store
	@tp1 import reference

mlproject: $(BIN)/.installed ## Write MLproject anew, after adding a file to experiments/
	@tp1 mlproject

clean: ## Remove the environment and tool caches (not runs, not data)
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache
