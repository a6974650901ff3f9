# Everything a fresh clone needs: `make setup`, `make demo`, `make test`, `make lint`. `make help` lists all.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := .tools
# Name an interpreter to use only that one: make setup PYTHON=/opt/python3.12/bin/python3
PYTHON ?=
# More arguments for pytest, the demo or the bench: make test ARGS="-k engine -x"
ARGS ?=
# `make lock UPGRADE=1` moves every pin to its newest version; without it only what pyproject.toml asks for moves.
UPGRADE ?=

LOCKS := requirements-build.lock requirements.lock
UV_VERSION := 0.13.8
SLITHER_VERSION := 0.11.6
# --no-build-isolation: what has no wheel is built with the setuptools of the lock, never with one from elsewhere.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench bench-compare seeds soak mutants docs man dashboard contracts-check contracts-test policies policies-check check wheel lock clean

help: ## Say what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the pinned dependencies and swarmd itself

# A Python counts only if it runs: pyenv's shims, for one, exist for versions that are not selected.
# The program asks for 3.11 or 3.12, venv and pip, which Debian packages apart.
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

$(BIN)/python:
	@set -e; found=; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python); do \
	  if "$$python" -c '$(FITS)' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -n "$$found" ]; then \
	  echo "making $(VENV) with $$("$$found" --version) ($$found)"; \
	  "$$found" -m venv --clear $(VENV); \
	elif [ -z "$(PYTHON)" ] && command -v uv >/dev/null; then \
	  echo "making $(VENV) with uv"; \
	  uv venv --quiet --clear --seed --python '>=3.11,<3.13' $(VENV); \
	else \
	  echo "make setup: no Python 3.11 or 3.12 with venv$(if $(PYTHON), at $(PYTHON))." >&2; \
	  echo "  Debian 12: apt-get install python3 python3-venv python3-dev" >&2; \
	  echo "  anywhere:  install uv or pyenv, or name one: make setup PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi

# fastecdsa, which libp2p asks for, has no wheel: it is compiled against GMP.
$(STAMP): $(LOCKS) pyproject.toml Makefile
	@if [ -e $(BIN)/python ] && ! $(BIN)/python -c '$(FITS)' >/dev/null 2>&1; then \
	  echo "$(VENV) has no working Python 3.11 or 3.12 any more: making it anew"; rm -rf $(VENV); \
	fi
	@$(MAKE) --no-print-directory $(BIN)/python
	@$(BIN)/python -c 'import fastecdsa._ecdsa' 2>/dev/null || { \
	  include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	  printf '#include <Python.h>\n#include <gmp.h>\n' | $${CC:-cc} -E -I"$$include" - >/dev/null 2>&1 || { \
	    echo "make setup: a C compiler, Python's headers and GMP's are needed to build fastecdsa." >&2; \
	    echo "  Debian: apt-get install gcc python3-dev libgmp-dev    macOS: brew install gmp" >&2; \
	    exit 1; \
	  }; \
	}
	@echo "installing the pinned dependencies (a minute or two the first time)"
	@$(PIP_INSTALL) --require-hashes -r requirements-build.lock
	@$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements.lock
	@# trio-typing comes with libp2p; its stubs of an old trio hide the types that trio itself ships from mypy.
	@rm -rf $(VENV)/lib/python3.*/site-packages/trio-stubs
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "ready: $(BIN)/swarmd"

demo: $(STAMP) ## Run a mesh of five daemons on this machine and take a need through it
	@$(BIN)/swarmd demo $(ARGS)

test: $(STAMP) ## Run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## Rewrite the code in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP) ## Run all benchmarks and write bench.json and docs/bench.md: tens of minutes, alone on the machine
	@$(BIN)/swarmd bench all --to bench.json --table docs/bench.md $(ARGS)

bench-compare: $(STAMP) ## Measure the commit BASE and this tree in turn: make bench-compare BASE=HEAD~5
	@test -n "$(BASE)" || { echo "make bench-compare: name a commit: BASE=HEAD~5" >&2; exit 1; }
	@$(BIN)/swarmd bench compare $(ARGS) "$(BASE)"

seeds: $(STAMP) ## Simulate the corpus of once failing seeds and 200 others
	@$(BIN)/python -m swarmd.simulations.soak $(ARGS)

docs: $(STAMP) ## Build the site of docs/ into site/, strictly: a link that leads nowhere fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict $(ARGS)

man: $(STAMP) ## Write the manual pages to man/
	@$(BIN)/swarmd man --output man

soak: $(STAMP) ## Simulate seeds until stopped; those that fail go into the corpus
	@$(BIN)/python -m swarmd.simulations.soak --forever $(ARGS)

mutants: $(STAMP) ## Plant known bugs in the core one at a time; tests and simulator must catch each
	@$(BIN)/python -m swarmd.simulations.mutants $(ARGS)

contracts/node_modules/.package-lock.json: contracts/package-lock.json
	@cd contracts && npm ci --silent --no-audit --no-fund
	@touch $@

contracts-check: ## Recompile the contracts with the pinned solc and compare with what ships
	@if command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory contracts/node_modules/.package-lock.json && node contracts/build.js --check; \
	elif [ -n "$${CI:-}" ]; then echo "contracts-check: npm is not installed" >&2; exit 1; \
	else echo "contracts-check: skipped, npm is not installed"; fi

# slither needs another web3 than swarmd: it has an environment and a lock file of its own.
$(TOOLS)/slither/.installed: contracts/requirements-slither.lock
	@$(BIN)/python -m venv --clear $(TOOLS)/slither
	@$(TOOLS)/slither/bin/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r $<
	@touch $@

contracts-test: $(STAMP) ## Test the contracts: unit, fuzz, invariants, gas snapshot, coverage, slither
	@if command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory contracts/node_modules/.package-lock.json $(TOOLS)/slither/.installed && \
	  contracts/check.sh "$(CURDIR)/$(TOOLS)/slither/bin/slither"; \
	elif [ -n "$${CI:-}" ]; then echo "contracts-test: npm is not installed" >&2; exit 1; \
	else echo "contracts-test: skipped, npm is not installed"; fi

policies: ## Check, test and compile the policies with the pinned opa
	@policies/build.sh

policies-check: ## Test the policies, recompile them with the pinned opa and compare with what ships
	@policies/build.sh --check
	@policies/build.sh --cases

tests/interop/js/node_modules/.package-lock.json: tests/interop/js/package-lock.json
	@cd tests/interop/js && npm ci --silent --no-audit --no-fund
	@touch $@

tests/interop/automerge/node_modules/.package-lock.json: tests/interop/automerge/package-lock.json
	@cd tests/interop/automerge && npm ci --silent --no-audit --no-fund
	@touch $@

tests/interop/ipld/node_modules/.package-lock.json: tests/interop/ipld/package-lock.json
	@cd tests/interop/ipld && npm ci --silent --no-audit --no-fund
	@touch $@

tests/dashboard/axe/node_modules/.package-lock.json: tests/dashboard/axe/package-lock.json
	@cd tests/dashboard/axe && npm ci --silent --no-audit --no-fund
	@touch $@

# What the browser loads, made of js/ and css/ as they are written (docs/adr/0045-one-script-for-the-dashboard.md).
PAGES := node/dashboard/static
MADE := $(PAGES)
dashboard: tests/dashboard/axe/node_modules/.package-lock.json ## Make the dashboard's one script and stylesheet of their parts
	@tests/dashboard/axe/node_modules/.bin/esbuild $(PAGES)/js/app.js --bundle --format=esm --target=es2022 --charset=utf8 \
	  --banner:js='// Made by "make dashboard" of what is in js/ and vendor/: change it there.' --log-level=warning --outfile=$(MADE)/app.js
	@{ echo '/* Made by "make dashboard" of what is in css/: change it there. */'; \
	  cat $(PAGES)/css/frame.css $(PAGES)/css/parts.css $(PAGES)/css/pages.css; } > $(MADE)/app.css

$(TOOLS)/bin/interop-go: tests/interop/go/main.go tests/interop/go/go.mod tests/interop/go/go.sum
	@mkdir -p $(TOOLS)/bin
	@cd tests/interop/go && go vet . && go build -mod=readonly -trimpath -o "$(CURDIR)/$@" .

# kubo, pinned with all it is made of in go.sum. Without cgo and FUSE: it needs no C compiler, and builds faster.
$(TOOLS)/bin/ipfs: tests/interop/kubo/go.mod tests/interop/kubo/go.sum
	@mkdir -p $(TOOLS)/bin
	@cd tests/interop/kubo && CGO_ENABLED=0 go build -mod=readonly -trimpath -tags nofuse -ldflags '-s -w' \
	  -o "$(CURDIR)/$@" github.com/ipfs/kubo/cmd/ipfs

# nats-py, Celery and the like for tests/cli/test_bench_peers.py, in an environment of their own in the user's cache.
.PHONY: peers
peers: $(STAMP)
	@$(BIN)/python -m swarmd.node.bench.peers.interpreter queues

INTEROP_NPM := $(patsubst %,tests/%/node_modules/.package-lock.json,interop/js interop/automerge interop/ipld dashboard/axe)
interop: $(INTEROP_NPM) $(TOOLS)/bin/interop-go $(TOOLS)/bin/ipfs peers ## Get js-libp2p, Automerge, @ipld, axe (npm), go-libp2p, kubo (go), nats-py and Celery (PyPI) for tests

check: lint test seeds contracts-check contracts-test policies-check ## All that CI runs

wheel: $(STAMP) ## Build dist/swarmd-*.whl
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

# The environments of slither and of what `swarmd bench peers` compares with are apart: none of it has a place beside swarmd.
# Versions and hashes only: where packages come from is the business of whoever installs them.
lock: ## Renew the lock files from pyproject.toml
	@set -e; python3 -m venv --clear $(TOOLS)/uv; \
	$(TOOLS)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	compile="$(TOOLS)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
	  $(if $(UPGRADE),--upgrade)"; \
	eval "$$compile pyproject.toml --extra dev --output-file requirements.lock"; \
	printf '%s\n' slither-analyzer==$(SLITHER_VERSION) | \
	  eval "$$compile - --output-file contracts/requirements-slither.lock"; \
	printf '%s\n' 'nats-py>=2.16,<3' 'celery[redis]>=5.7,<6' 'grpcio>=1.85,<2' 'protobuf>=6,<7' | \
	  eval "$$compile - --output-file node/bench/peers/requirements-queues.lock"; \
	printf '%s\n' 'ray>=2.60,<3' | \
	  eval "$$compile - --output-file node/bench/peers/requirements-ray.lock"; \
	printf '%s\n' pip setuptools wheel | eval "$$compile - --output-file requirements-build.lock"

clean: ## Remove what was built, .venv included
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
