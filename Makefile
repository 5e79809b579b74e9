# Tongjian: `make help` lists the targets. Everything runs in .venv, which the first target that needs it creates.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench sim sim-twins sim-bugs crash-test perturb recovery soak flood attack-coverage compose-test upgrade-test governance-test clean

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
ONCE ?= 0
SEED ?= 1
KILLS ?= 30
MINUTES ?= 60
LOAD ?= 0.7
CHAINS ?= one

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(INSTALLED): requirements-dev.lock pyproject.toml tools/bootstrap
	@bash tools/bootstrap $(VENV)
	@touch $@

install: $(INSTALLED) ## create .venv with the pinned, hashed dependencies

demo: $(INSTALLED) ## six chains, five regions, one look-through answer; ONCE=1 stops by itself
	@$(VENV_PYTHON) -m cli.main demo $(if $(filter 1,$(ONCE)),--once,)

test: $(INSTALLED) ## the whole test suite that needs no Docker
	@bash tools/run-tests

check: $(INSTALLED) ## format, lint, types, import contract
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(INSTALLED) ## rewrite the sources in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(INSTALLED) ## measure the performance bars; JSON results with machine and commit in bench/results/
	$(VENV_PYTHON) -m tests.bench

sim: $(INSTALLED) ## the whole simulated system from one seed: make sim SEED=7
	$(VENV_PYTHON) -m tests.sim --layer system --seed $(SEED)

sim-twins: $(INSTALLED) ## every schedule of twins over three and four views, up to symmetry
	$(VENV_PYTHON) -m tests.sim.twins --jobs 2

sim-bugs: $(INSTALLED) ## plant 86 known bugs, each must be caught by a simulation; ONLY=quorum-one-too-low
	$(VENV_PYTHON) -m tests.sim.planted --jobs 2 $(if $(ONLY),--only $(ONLY),)

crash-test: $(INSTALLED) ## kill validators at every point of disk and network, each in turn (about ten minutes); SEED=7
	CRASH_POINTS=all SEED=$(SEED) $(VENV_PYTHON) -m pytest -q -s tests/e2e/test_crash_points.py

perturb: $(INSTALLED) ## disturb a real network as the manifests say, judge it by its public interface (8 min)
	$(VENV_PYTHON) -m tests.perturbation --report bench/results/perturbation.json

recovery: $(INSTALLED) ## how long a chain takes over crashes: KILLS=30 of leaders, then of followers (13 min)
	$(VENV_PYTHON) -m tests.perturbation.recovery --kills $(KILLS)

soak: $(INSTALLED) ## hours at a share of the sustained load, and what drifts: make soak MINUTES=60 LOAD=0.7 CHAINS=all
	$(VENV_PYTHON) -m tests.soak --minutes $(MINUTES) --load $(LOAD) --chains $(CHAINS)

flood: $(INSTALLED) ## a real node under hostile peers and clients: memory, and honest clients (2 min)
	$(VENV_PYTHON) -m tests.flood

attack-coverage: $(INSTALLED) ## prove that the test of every attack fails when its check is taken out; ONLY="C4 N1"
	$(VENV_PYTHON) -m tests.attacks $(if $(ONLY),--only $(ONLY),) --jobs 2

upgrade-test: $(INSTALLED) ## upgrade all 24 nodes of a real network one by one, under load, then its protocol (5 to 8 min)
	UPGRADE_TEST=all $(VENV_PYTHON) -m pytest -q -s tests/e2e/test_upgrade.py

governance-test: $(INSTALLED) ## register, expire, restore and recover regions on real processes (about 5 min)
	GOVERNANCE_TEST=all $(VENV_PYTHON) -m pytest -q -s tests/e2e/test_governance.py

compose-test: $(INSTALLED) ## the whole stack under Docker Compose, with faults (needs a Docker Engine)
	$(VENV_PYTHON) -m tests.compose

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
