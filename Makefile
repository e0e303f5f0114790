# `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-delivery
INFRA := .venv-infra
WAFER := $(BIN)/wafer
PYTEST := $(BIN)/pytest --numprocesses=3 --dist=worksteal
LINE ?=
BATCHES ?=
PREDICT ?=
export DAGSTER_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo serve dev observe observe-check screenshots audit check test test-lines test-docs test-faults chaos test-kubernetes lint types validate \
	unit image image-tag reasons lock clean wheel delivery-tools delivery-check state plan apply drift secrets databases render sweep destroy infra-plan infra-check

help: ## Show what each target does.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Create .venv from the hash-pinned lock.

# Bytecode is compiled here because some machines forbid writing it later, which doubles every import.
$(VENV)/.ready: locks/uv.txt locks/dev.txt pyproject.toml
	@echo 'Setting up $(VENV), once ...' >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed; set PYTHON=python3.11")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode locks/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Run everything once on simulated files, or on those of BATCHES=<folder> and PREDICT=<folder>; LINE=<name>.
	@$(WAFER) demo $(if $(LINE),--line $(LINE)) $(BATCHES) $(if $(PREDICT),--predict $(PREDICT))

serve: setup ## Serve the champion over HTTP on loopback; PORT=<port> sets its port, LINE=<name> says whose.
	@$(WAFER) serve $(if $(LINE),--line $(LINE)) $(if $(PORT),--port $(PORT))

dev: setup ## Open the Dagster UI on what is there; PORT=<port> sets its port.
	@$(WAFER) dev $(if $(PORT),--port $(PORT))

observe: setup ## Open the Dagster UI with Prometheus and Alertmanager beside it, where they are installed.
	@$(BIN)/python -m deploy.monitoring observe

observe-check: setup ## Cause alerts and see them fire and clear in a real Prometheus; minutes, beside `make test`.
	@$(BIN)/pytest -m observe tests/deploy/monitoring --timeout=900 -rs $(ARGS)

check: setup lint types validate ## Run linters, types, definitions and the tests that start no server; two minutes.
	@$(PYTEST) -m 'not services and not slow and not infra and not observe' $(ARGS)

test: setup lint types validate unit ## Run linters, types, definitions and all tests but the longest; ten minutes.

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

validate: setup
	@$(BIN)/dagster definitions validate

unit: setup ## Run the tests alone, on two cores; ARGS=... goes to pytest.
	@$(PYTEST) -m 'not slow and not infra and not observe' $(ARGS)

test-lines: setup ## Check the contracts of the lines alone: what a change of a line's folder can break.
	@$(PYTEST) -m 'not slow' tests/schemas tests/lines $(ARGS)

test-docs: setup ## Check what pages say against the code: what a change of documentation can break.
	@$(PYTEST) tests/deploy/test_runbook.py tests/cli/test_help.py tests/schemas/test_lines.py $(ARGS)

test-faults: setup ## Run the tests that take minutes each: what is killed, and demos whose stores are lost.
	@$(PYTEST) --numprocesses=2 -m slow $(ARGS)

chaos: setup ## Kill random processes of a running platform, then check the books; ROUNDS=20, SEED=<number>.
	@$(BIN)/python -m tests.faults.chaos --rounds $(or $(ROUNDS),20) $(if $(SEED),--seed $(SEED))

test-kubernetes: setup ## Test on the cluster of KUBECONFIG or on one of K8S_KIT=<folder>; BATCHES=<folder> to train on.
	@$(if $(BATCHES),WAFER_TEST_BATCHES=$(abspath $(BATCHES))) $(BIN)/python -m tests.kubernetes.kit $(BIN)/pytest tests/kubernetes --timeout=600 $(ARGS)

image: setup ## Build the platform's container image, unless nothing in it has changed; needs Docker or buildah.
	@$(BIN)/python -m deploy.image build $(patsubst %,--revision %,$(shell git rev-parse HEAD 2>/dev/null))

image-tag: setup ## Print the image's tag, which follows from its content.
	@$(BIN)/python -m deploy.image tag

audit: setup ## Look for known vulnerabilities of what the locks pin; ARGS='--database <export of advisories>'.
	@$(BIN)/python -m deploy.ci vulnerabilities $(ARGS)

wheel: setup ## Build the platform's package, for a host that runs it without a container.
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir build/wheel .

# One file of deploy/terraform/environments is one environment; the runbook says what each of these does.
infra = @$(BIN)/python -m deploy.infra $(1) $(if $(ENV),'$(ENV)',$(error Say which environment: make $(1) ENV=dev or ENV=production)) $(ARGS)

state: setup ## Make the bucket of Terraform's state; ENV=<environment>, as for all of these.
	$(call infra,state)

plan: setup ## Show what apply would change.
	$(call infra,plan)

apply: setup ## Make or change everything of an environment, from the network to Argo CD.
	$(call infra,apply)

drift: setup ## Tell what is not as the code says; ends with 2 where something is.
	$(call infra,drift)

# Differences are what it is for: only a plan that could not be made is a failure.
infra-plan: setup ## Write what is not as the code says, in every environment, to build/terraform-plan.txt.
	@mkdir -p build && rm -f build/terraform-plan.txt
	@for environment in $(or $(ENV),dev production); do \
	  $(BIN)/python -m deploy.infra drift $$environment >> build/terraform-plan.txt 2>&1 || test $$? = 2 || { cat build/terraform-plan.txt; exit 1; }; \
	done; cat build/terraform-plan.txt

secrets: setup ## Fill the secrets that have no value yet.
	$(call infra,secrets)

databases: setup ## Make roles and databases in PostgreSQL; ARGS='--tag <tag of the image>'.
	$(call infra,databases)

render: setup ## Write what Terraform made to where Helm and kustomize read it.
	$(call infra,render)

sweep: setup ## List what is left in the account, service by service.
	$(call infra,sweep)

destroy: setup ## Destroy an environment, after asking.
	$(call infra,destroy)

$(INFRA)/.ready: $(VENV)/.ready locks/infra.txt
	@echo 'Setting up $(INFRA), once ...' >&2
	@$(PYTHON) -m venv --clear $(INFRA)
	@$(BIN)/uv pip sync --quiet --python $(INFRA)/bin/python --require-hashes locks/infra.txt
	@touch $@

infra-check: $(INFRA)/.ready ## Test all of the infrastructure that can be tested without AWS; TERRAFORM_KIT=<folder>.
	@$(BIN)/pytest --numprocesses=2 --dist=loadfile tests/deploy/infra -rs $(ARGS)

screenshots: setup ## Try the UI in headless Chromium and take the README's pictures anew.
	@$(BIN)/python -m tests.screenshots

reasons: setup ## Write docs/reasons.md anew from the code.
	@$(BIN)/python -m wafer_assets.domain.reasons_page > docs/reasons.md

delivery-tools: $(TOOLS)/.ready ## Create .venv-delivery: what the pipeline calls and the platform never imports.

$(TOOLS)/.ready: locks/delivery.txt $(VENV)/.ready
	@$(PYTHON) -m venv --clear --without-pip $(TOOLS)
	@$(BIN)/uv pip sync --quiet --python $(TOOLS)/bin/python --require-hashes locks/delivery.txt
	@touch $@

delivery-check: setup delivery-tools ## Try image, delivery, Argo CD's objects and hosts for real; root, as .ci/run sets it up.
	@$(BIN)/pytest tests/delivery --timeout=900 $(ARGS)

lock: setup ## Resolve the lock files again.
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header locks/uv.in -o locks/uv.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --extra local --group dev pyproject.toml -o locks/dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --constraint locks/dev.txt pyproject.toml -o locks/runtime.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' locks/delivery.in -o locks/delivery.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --constraint locks/dev.txt locks/local.in -o locks/local.txt
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header locks/infra.in -o locks/infra.txt

clean: ## Stop the local services and remove all state and the environment.
	-@test ! -x $(WAFER) || $(WAFER) services down
	@rm -rf .wafer $(VENV) $(TOOLS) $(INFRA)
