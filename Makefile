# Every recipe is one quantctl call, or calls joined by &&. A failing line stops the recipe and Make
# prints its exit code. Set OPTIONS for global options, for example OPTIONS="--set htr.floor=16".
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUANTCTL ?= $(if $(wildcard $(BIN)/quantctl),$(BIN)/quantctl,quantctl)
Q = $(QUANTCTL) $(OPTIONS)
OPTIONS ?=
PROFILE ?=
RUN_ID ?=
AS_OF ?=
STAMP ?=
SCOPE ?=
ifeq ($(strip $(STAMP)),)
STAMP := $(shell date -u +%Y%m%d-%H%M%S)
endif
LONG ?= binance_spot_rating_all_long
SHORT ?= binance_spot_rating_all_short

require = @test -n "$(strip $($(1)))" || { echo "$(1) is required" >&2; exit 2; }
as_of = $(if $(strip $(AS_OF)),--as-of $(strip $(AS_OF)))
profile = $(if $(strip $(PROFILE)),--profile $(strip $(PROFILE)))
scope = $(if $(strip $(SCOPE)),--scope $(strip $(SCOPE)),--all-symbols --yes)

.PHONY: help
help:  ## List the targets.
	@grep -hE '^[a-z][a-z -]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 36

# runs

.PHONY: flow-data flow-production flow-binance-spot-rating-all-ls atomic-audit sign-test ledger-verify
flow-data:  ## Features, health, candidates of PROFILE (else both spot sleeves) [AS_OF] [SCOPE].
	$(if $(profile),$(Q) data run $(profile) $(as_of) $(scope),\
	$(Q) data run --profile $(LONG) $(as_of) $(scope) && $(Q) data run --profile $(SHORT) $(as_of) $(scope))

flow-production:  ## Candidates and a run of PROFILE [AS_OF]; honours TV_RUN_ID.
	$(call require,PROFILE)
	$(Q) data candidates --profile $(PROFILE) $(as_of) && $(Q) run --profile $(PROFILE) $(as_of)

flow-binance-spot-rating-all-ls:  ## Both spot sleeves with audits [AS_OF].
	@echo "run ids: $(LONG)_$(STAMP) $(SHORT)_$(STAMP)"
	$(Q) data candidates --profile $(LONG) $(as_of) \
	&& $(Q) data candidates --profile $(SHORT) $(as_of) \
	&& $(Q) run --profile $(LONG) $(as_of) --run-id $(LONG)_$(STAMP) \
	&& $(Q) run --profile $(SHORT) $(as_of) --run-id $(SHORT)_$(STAMP) \
	&& $(Q) audit atomic $(LONG)_$(STAMP) --profile $(LONG) \
	&& $(Q) audit atomic $(SHORT)_$(STAMP) --profile $(SHORT)

atomic-audit:  ## Combined audit of RUN_ID [PROFILE].
	$(call require,RUN_ID)
	$(Q) audit atomic $(RUN_ID) $(profile)

sign-test:  ## Directional sign test of RUN_ID.
	$(call require,RUN_ID)
	$(Q) audit sign-test $(RUN_ID)

ledger-verify:  ## Verify the ledger of RUN_ID.
	$(call require,RUN_ID)
	$(Q) ledger verify $(RUN_ID)

# single stages

.PHONY: data-audit meta-ingest feature-ingest feature-backfill port-select port-optimize port-report
data-audit:  ## Judge the health of the bars [PROFILE].
	$(Q) data audit $(profile)

meta-ingest:  ## Instrument metadata [PROFILE].
	$(Q) data metadata $(profile)

feature-ingest feature-backfill:  ## Compute the features of all bars, or of an import [SCOPE] [PROFILE].
	$(Q) data features $(profile) $(scope)

port-select:  ## Selection of RUN_ID again, outside the run.
	$(call require,RUN_ID)
	$(Q) stage run selection.policy --run-id $(RUN_ID)

port-optimize:  ## Optimisation of RUN_ID again, outside the run.
	$(call require,RUN_ID)
	$(Q) stage run allocation.optimization --run-id $(RUN_ID)

port-report:  ## Report of RUN_ID.
	$(call require,RUN_ID)
	$(Q) report build $(RUN_ID)

.PHONY: env-check worker init
env-check:  ## Check the installation.
	$(Q) doctor

worker:  ## Serve queued and interrupted runs.
	$(Q) worker

init:  ## Prepare this directory.
	$(Q) init

# installation: the lock first, then the package as a wheel, so that checkouts without links work too

RUNTIME_STAMP := $(VENV)/.runtime
TEST_STAMP := $(VENV)/.test
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet
PACKAGE = rm -rf build && $(PIP) --no-build-isolation --no-deps --force-reinstall .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME_STAMP): requirements.lock | $(BIN)/python
	sed '/^# dev and peers/q' requirements.lock > $(VENV)/runtime.lock
	$(PIP) --require-hashes --only-binary :all: -r $(VENV)/runtime.lock
	touch $@

$(TEST_STAMP): requirements.lock | $(BIN)/python
	$(PIP) --require-hashes -r requirements.lock
	touch $@ $(RUNTIME_STAMP)

.PHONY: demo install install-test
install: $(RUNTIME_STAMP)  ## Install into .venv what runs need.
	$(PACKAGE)

install-test: $(TEST_STAMP)  ## Install into .venv what tests need.
	$(PACKAGE)

demo: install  ## Offline, end to end, on a simulated market.
	$(BIN)/quantctl $(OPTIONS) demo

# checks; tests run in JOBS processes, the killing ones first because they take longest

JOBS ?= 2
KILLS ?= 2000
STATE ?= sqlite,postgres
SEED ?= 7
REPORT ?= kill-report.json
PYTEST = -n $(JOBS) --no-loadscope-reorder --durations=15

.PHONY: test test-fast test-kill lint typecheck pytest ci shape docs bench-allocation bench-system lock wheel
test: lint typecheck pytest  ## Lint, types and the whole offline suite.

pytest: install-test
	$(BIN)/pytest $(PYTEST) -m "not exhaustive"

test-fast: install-test  ## The suite without slow and killing tests.
	$(BIN)/pytest -m "not slow and not chaos"

test-kill: install-test  ## Tests that kill at every point, then KILLS random kills over STATE [SEED] [REPORT].
	$(BIN)/pytest $(PYTEST) tests/chaos \
	&& $(BIN)/python tests/chaos/campaign.py --kills $(KILLS) --state $(STATE) --seed $(SEED) --report $(REPORT)

lint: install-test  ## Ruff with the house rules.
	$(BIN)/ruff check .

typecheck: install-test  ## mypy strict, where the links are links.
	@if [ -d quantctl/contracts ]; then $(BIN)/mypy quantctl; \
	else echo "typecheck: skipped, the links in quantctl/ are text files here (core.symlinks=false)"; fi

ci:  ## What the continuous build runs.
	.ci/run

shape:  ## Sizes of files and functions, docstrings, annotations, tests per line.
	@$(PYTHON) docs/shape.py

docs: install-test  ## Generate docs/reference from the code.
	$(BIN)/python docs/reference.py

bench-allocation: install-test  ## Measure the allocation kernels, write docs/benchmarks.md [BENCH="--quick"].
	$(BIN)/python benchmarks/allocation.py $(BENCH)

bench-system: install-test  ## Measure whole commands, durability and SQL, write docs/benchmarks-system.md [BENCH="--only ID"].
	$(BIN)/python benchmarks/system.py $(BENCH)

lock: install-test  ## Write requirements.lock anew.
	$(BIN)/python .ci/lock

wheel: install-test  ## Build wheel and sdist into dist/.
	$(BIN)/python -m build --no-isolation --outdir dist .
