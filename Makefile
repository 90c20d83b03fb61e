# `make run` and `make test` are all that is needed; each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAGE ?= dev
ARCHITECTURE ?= arm64
OUT ?= .package/$(STAGE)
MINUTES ?= 10
SEED ?= 1

.PHONY: help run backup password package deploy destroy test prove lint api-check conformance clients test-cloud endurance soak bench clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Slipway needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python lacks venv: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: requirements.txt requirements-local.txt $(VENV)/.made
	@echo "installing pinned packages into $(VENV), once" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-local.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.local
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(VENV)/.deploy: requirements-deploy.txt $(VENV)/.local
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-deploy.txt
	@touch $@

run: $(VENV)/.local  ## serve the registry on http://127.0.0.1:5000 (PORT=, DATA=, HOST=, PUBLIC_URL=, TLS_CERT=, TLS_KEY=)
	@exec $(BIN)/python -m infra.local

backup: $(VENV)/.local  ## copy the data folder, also while it is in use: make backup TO=folder
	@test -n "$(TO)" || { echo "say where to: make backup TO=folder" >&2; exit 1; }
	@$(BIN)/python -m infra.local.maintenance backup "$(TO)"

password: $(VENV)/.local  ## give admin another password: SLIPWAY_ADMIN_PASSWORD, or a generated one
	@$(BIN)/python -m infra.local.maintenance password

package: $(VENV)/.local  ## the zips and template for AWS: make package STAGE=dev OUT=folder ARCHITECTURE=arm64|x86_64
	@$(BIN)/python -m infra.package --stage "$(STAGE)" --architecture "$(ARCHITECTURE)" --out "$(OUT)"

deploy: package $(VENV)/.deploy  ## make or update a stage on AWS: make deploy STAGE=dev PARAMETERS="BlobVersions=yes"
	@$(BIN)/python -m infra.deploy deploy --stage "$(STAGE)" --package "$(OUT)" --architecture "$(ARCHITECTURE)" $(PARAMETERS:%=--parameter %)

destroy: $(VENV)/.local  ## remove a stage and every image in it: make destroy STAGE=dev CONFIRM=dev DROP_DATA=yes
	@$(BIN)/python -m infra.deploy destroy --stage "$(STAGE)" --confirm "$(CONFIRM)" --drop-data "$(DROP_DATA)"

test: $(VENV)/.dev  ## the tests
	@$(BIN)/python -m pytest -n 3 --dist worksteal

prove: $(VENV)/.dev  ## a million orders in which requests, deletions and the collector can meet; a quarter of an hour on two cores
	@$(BIN)/python -m tests.interleavings.run

lint: $(VENV)/.dev  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy app.py chalicelib infra tests

api-check: $(VENV)/.dev  ## the management API against its OpenAPI description, by schemathesis
	@$(BIN)/python -m tests.api_check.run

conformance: $(VENV)/.dev  ## the OCI conformance program with every option on (needs Go)
	@$(BIN)/python -m tests.conformance.run

clients: $(VENV)/.dev  ## docker, podman, skopeo, containerd and others, the real programs (needs root on Debian, and Go)
	@sh tests/clients/install.sh
	@$(BIN)/python -m pytest tests/clients

test-cloud: $(VENV)/.dev  ## packaged, deployed to an emulated AWS, used and destroyed (needs root on Debian, and Go)
	@sh tests/clients/install.sh
	@$(BIN)/python -m pytest -n 2 tests/cloud

endurance: $(VENV)/.dev  ## 5 GB layers and 10 GB through the relay in bounded memory, kill -9 fifty times, broken connections (needs root)
	@$(BIN)/python -m pytest tests/endurance

soak: $(VENV)/.dev  ## clients, collectors and kills at once, on one machine and on an emulated AWS: make soak MINUTES=10 SEED=1
	@$(BIN)/python -m tests.soak.run --minutes "$(MINUTES)" --seed "$(SEED)"

bench: $(VENV)/.dev  ## speed beside docker-registry and boto3, and what collection costs in a large registry (needs root on Debian, and Go)
	@sh tests/clients/install.sh
	@$(BIN)/python -m tests.bench.run

clean:  ## remove what the other targets made, but no data
	@rm -rf $(VENV) .venv-* .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
