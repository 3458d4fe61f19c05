# Every command of this repository. The deploying ones need Python and Terraform only; the others make
# their own environment in the checkout, once.
PYTHON ?= python3
ENV ?= dev
BIN := .venv/bin
# Each worker has a local cloud of its own, which starts functions beside it, and often waits for them.
WORKERS ?= 4
DEPLOY = $(PYTHON) scripts/deploy.py
NAMED = --project "$(PROJECT)" $(if $(PREFIX),--prefix "$(PREFIX)")
FLAGS = $(NAMED) $(if $(YES),--yes)
# What bootstrap prepares beside the pipeline's own: CAPABILITIES="portal sweep". What is not named stays as applied.
ifneq ($(origin CAPABILITIES),undefined)
export TF_VAR_capabilities := $(shell $(PYTHON) -c 'import json, sys; print(json.dumps(sys.argv[1:]))' $(CAPABILITIES))
endif
# Who may answer what approvals ask, as IAM members: APPROVERS="group:editors@example.com".
ifneq ($(origin APPROVERS),undefined)
export TF_VAR_approvers := $(shell $(PYTHON) -c 'import json, sys; print(json.dumps(sys.argv[1:]))' $(APPROVERS))
endif
# A shell that sourced .local/activate reaches nothing once its local cloud, and that file with it, is gone.
ifneq ($(and $(_local_names),$(filter-out clean help local-stop,$(MAKECMDGOALS))),)
ifeq ($(wildcard .local/activate),)
$(error This shell points at a local cloud that has ended. Type deactivate_local, then this again)
endif
endif
.DEFAULT_GOAL := help

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# On one machine, without a Google account

.PHONY: demo
demo: prepare ## Apply to a local cloud, upload, show the results, re-plan, destroy
	@$(BIN)/python -m tests.localcloud.client.demo

.PHONY: local showcase local-stop
local: prepare ## The same, left running: source .local/activate
	@$(BIN)/python -m tests.localcloud.client.local
showcase: prepare ## Every capability at once, left running: source .local/activate
	@$(BIN)/python -m tests.localcloud.client.local showcase
local-stop: prepare ## End what make local or make showcase started
	@$(BIN)/python -m tests.localcloud.client.local stop

.PHONY: clean
clean: ## Remove what these targets made in the checkout; end make local first
	@test ! -f .local/state.json || $(MAKE) --no-print-directory local-stop
	@rm -rf .venv .venv.lock .cache .local build environments/*/.terraform .*_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed: Python environments, caches, zips, plans. States and settings stay."

.PHONY: test
test: prepare ## All tests, four files at a time (WORKERS=)
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(TESTS)

.PHONY: ops
ops: prepare ## The operator's tool: make ops ARGS="status --failed" (ENV= PROJECT=)
	@$(BIN)/python -m scripts.ops -e $(ENV) --project "$(PROJECT)" $(or $(ARGS),--help)

.PHONY: logs
logs: prepare ## One file's story: make logs OBJECT=gs://… (or FILE= TASK=), or EVENT=retry: newest lines (ENV= PROJECT=)
	@$(BIN)/python -m scripts.ops -e $(ENV) --project "$(PROJECT)" logs \
		$(if $(EVENT),--event "$$EVENT","$${FILE:-$${TASK:-$$OBJECT}}")

.PHONY: test-terraform
test-terraform: prepare ## The Terraform tests, with PROVIDER=real or PROVIDER=standin to insist
	@$(if $(PROVIDER),PROVIDER=$(PROVIDER)) $(BIN)/python -m pytest tests/terraform $(TESTS)

.PHONY: test-portal test-portal-api test-corpus soak hostile test-emulator test-frameworks bench pictures
test-portal-api: prepare ## 10,000 requests of schemathesis against the portal (REQUESTS=)
	@REQUESTS=$(or $(REQUESTS),10000) $(BIN)/python -m pytest tests/functions/test_portal_api.py
test-portal: prepare ## 1,000 files by 50 clients at once through the portal (FILES= CLIENTS=)
	@FILES=$(or $(FILES),1000) CLIENTS=$(or $(CLIENTS),50) $(BIN)/python -m pytest tests/portal --timeout=3000 -k many_files
.PHONY: videos
videos: prepare ## A phone's video on the page, a long one by batch, in a browser (VIDEO_SECONDS=)
	@$(BIN)/python -m tests.portal.videos
test-corpus: prepare ## 1,500 files: each ends in a manifest or a named failure (CORPUS=folders KIND= RECORD= AGAINST=)
	@$(BIN)/python -m tests.corpus $(CORPUS) $(if $(KIND),--only --kind "$(KIND)") $(if $(RECORD),--record "$(RECORD)") $(if $(AGAINST),--against "$(AGAINST)")
soak: prepare ## 10,000 files under every fault, 10,000 tasks after an outage (SEED= FILES=)
	@$(BIN)/python -m tests.programs.soak
hostile: prepare ## 2,000 hostile files among 8,000 good ones, instances of 512 MiB (SEED= FILES=)
	@$(BIN)/python -m tests.programs.hostile
.PHONY: soak-batch test-clients
soak-batch: prepare ## 10,000 tasks under every fault, 50,000 by NDJSON (SEED= TASKS= PLAIN=)
	@$(BIN)/python -m tests.batch.soak
test-emulator: prepare ## Google's Pub/Sub emulator delivers what the local cloud delivers (needs gcloud)
	@$(BIN)/python -m pytest tests/programs/emulator.py
test-frameworks: prepare ## React and Uppy of docs/portal.md, the types of uploader.js, Node's Cloud Storage client (needs npm)
	@$(BIN)/python -m pytest tests/browser/frameworks/frameworks.py
test-clients: prepare ## Google's clients for Node, Go and Java upload, stream and create here (needs npm, go, mvn)
	@$(BIN)/python -m pytest tests/localcloud/clients/clients.py
pictures: prepare ## Pictures of the portal's page for docs/ (PORTAL= its address)
	@$(BIN)/python -m tests.browser.pictures
bench: prepare ## Beside the tutorial and the limit, a quarter of an hour: docs/benchmarks.md
	@$(BIN)/python -m tests.bench

.PHONY: check
check: prepare ## What CI runs: format, lint, types, gates, all tests
	@$(MAKE) --no-print-directory gates GATES=links
	@$(MAKE) --no-print-directory lint gates & checks=$$!; \
		SKIPS=fail $(MAKE) --no-print-directory test; tests=$$?; \
		wait $$checks || { echo "lint or gates failed, see above" >&2; exit 1; }; exit $$tests

.PHONY: lint
lint: prepare ## Format, lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for f in functions/*/main.py; do d=$${f%/main.py}; MYPYPATH=$$(echo functions $(dir $(wildcard functions/*/main.py)) | tr " " ":") $(BIN)/mypy $(patsubst %/,%,$(dir $(wildcard functions/*/__init__.py))) $$d || exit 1; done
	@terraform fmt -check -recursive terraform environments

.PHONY: gates
gates: ## checkov, zizmor, shellcheck, yamllint, secrets, links; or some of them: GATES="links secrets"
	@$(PYTHON) -m scripts.checks.gates $(GATES)

.PHONY: format
format: prepare ## Format Python and Terraform in place
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@terraform fmt -recursive terraform environments

.PHONY: docs
docs: ## Make the tables in the modules' READMEs anew
	@$(PYTHON) scripts/docs_tables.py

.PHONY: requirements
requirements: prepare ## Resolve all requirements anew and pin them with hashes
	@$(BIN)/python scripts/requirements.py

.PHONY: prepare
prepare: ## The checkout's own Python environment (other targets call this)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Cannot go on: $(PYTHON) is not there or older than 3.11: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.13 …" >&2; exit 1; }
	@$(PYTHON) scripts/prepare.py --gsutil

# On Google Cloud: make bootstrap PROJECT=my-project, then make apply ENV=dev PROJECT=my-project

.PHONY: portal submit
portal: prepare ## Page, upload and status on a loopback address, with your own login (ENV= PROJECT= PORT=)
	@$(BIN)/python -m scripts.ops.portal -e $(ENV) --project "$(PROJECT)" $(if $(PORT),--port $(PORT))
submit: prepare ## The submit service of batch in the same way (ENV= PROJECT= PORT=)
	@$(BIN)/python -m scripts.ops.portal --submit -e $(ENV) --project "$(PROJECT)" $(if $(PORT),--port $(PORT))

.PHONY: first-run
first-run: prepare ## In a scratch project: does Google do what the local cloud infers? (PROJECT=, YES=1 to skip the question)
	@$(BIN)/python -m scripts.ops.first_run "$(PROJECT)" $(if $(YES),--yes)

.PHONY: build bootstrap plan apply verify destroy unlock lock
build: ## The functions' zips, the same bytes on any machine
	@$(PYTHON) scripts/build_functions.py
bootstrap: ## Once per project: APIs, state bucket, build account (PROJECT= CAPABILITIES= APPROVERS=)
	@$(DEPLOY) bootstrap $(FLAGS)
plan: ## Show what would change (ENV= PROJECT=)
	@$(DEPLOY) plan --environment $(ENV) $(FLAGS)
apply: ## Plan, then apply that plan (ENV= PROJECT=)
	@$(DEPLOY) apply --environment $(ENV) $(FLAGS)
verify: ## Is what runs what is declared, and does a file go through? (ENV= PROJECT=)
	@$(DEPLOY) verify --environment $(ENV) $(FLAGS)
destroy: ## Take an environment away (ENV= PROJECT=, YES=1 to skip the question)
	@$(DEPLOY) destroy --environment $(ENV) $(FLAGS)
unlock: ## Release a lock that a dead run left (ENV= PROJECT= LOCK=)
	@$(DEPLOY) unlock --environment $(ENV) $(FLAGS) --lock "$(LOCK)"
lock: ## Write the provider's lock files for four platforms (needs the registry)
	@$(DEPLOY) lock $(if $(filter command line,$(origin ENV)),--environment $(ENV))

# Delivery, as the workflows run it: see docs/delivery.md

CI = $(PYTHON) -m scripts.ci
TO = --environment $(ENV) $(NAMED)
.PHONY: ci-plan ci-apply drift
ci-plan: ## Plan for review, as on a pull request (ENV= PROJECT=)
	@$(CI) plan $(TO) --head "$(HEAD)"
ci-apply: ## Plan again, and apply what was reviewed (ENV= PROJECT=, REVIEWED= a plan's digest)
	@$(CI) prepare $(TO) --head "$(or $(HEAD),$(shell git rev-parse HEAD))" --reviewed "$(REVIEWED)"
	@$(CI) apply $(TO)
drift: ## Does an environment differ from this checkout? (ENV= PROJECT=)
	@$(CI) drift $(TO)
