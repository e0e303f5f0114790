# `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WAFER := $(BIN)/wafer
PYTEST := $(BIN)/pytest --numprocesses=3 --dist=worksteal
BATCHES ?=
PREDICT ?=
export DAGSTER_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo serve dev screenshots audit check test test-faults test-kubernetes lint types validate unit image image-tag lock clean

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

demo: setup ## Run everything once on simulated files, or on those of BATCHES=<folder> and PREDICT=<folder>.
	@$(WAFER) demo $(BATCHES) $(if $(PREDICT),--predict $(PREDICT))

serve: setup ## Serve the champion over HTTP on loopback; PORT=<port> sets its port.
	@$(WAFER) serve $(if $(PORT),--port $(PORT))

dev: setup ## Open the Dagster UI on what is there; PORT=<port> sets its port.
	@$(WAFER) dev $(if $(PORT),--port $(PORT))

check: setup lint types validate ## Run linters, types, definitions and the tests that start no server; two minutes.
	@$(PYTEST) -m 'not services and not slow' $(ARGS)

test: setup lint types validate unit ## Run linters, types, definitions and all tests but the longest; eight minutes.

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

validate: setup
	@$(BIN)/dagster definitions validate

unit: setup ## Run the tests alone, on two cores; ARGS=... goes to pytest.
	@$(PYTEST) -m 'not slow' $(ARGS)

test-faults: setup ## Run the tests that take minutes each: what is killed, and demos whose stores are lost.
	@$(PYTEST) --numprocesses=2 -m slow $(ARGS)

test-kubernetes: setup ## Test on the cluster of KUBECONFIG or on one of K8S_KIT=<folder>; BATCHES=<folder> to train on.
	@$(if $(BATCHES),WAFER_TEST_BATCHES=$(abspath $(BATCHES))) $(BIN)/python -m tests.kubernetes.kit $(BIN)/pytest tests/kubernetes --timeout=600 $(ARGS)

image: setup ## Build the platform's container image, unless nothing in it has changed; needs Docker or buildah.
	@$(BIN)/python -m deploy.image build $(patsubst %,--revision %,$(shell git rev-parse HEAD 2>/dev/null))

image-tag: setup ## Print the image's tag, which follows from its content.
	@$(BIN)/python -m deploy.image tag

audit: setup ## Look up the locks' packages among the known vulnerabilities, over the network; before each delivery.
	@$(BIN)/python -m deploy.audit $(ARGS)

screenshots: setup ## Try the UI in headless Chromium and take the README's pictures anew.
	@$(BIN)/python -m tests.screenshots

lock: setup ## Resolve the lock files again.
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header locks/uv.in -o locks/uv.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --extra local --group dev pyproject.toml -o locks/dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --constraint locks/dev.txt pyproject.toml -o locks/runtime.txt

clean: ## Stop the local services and remove all state and the environment.
	-@test ! -x $(WAFER) || $(WAFER) services down
	@rm -rf .wafer $(VENV)
