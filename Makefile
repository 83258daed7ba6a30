# Everything that is done with this checkout, by name. `make` alone lists the targets.
# What the build needs beyond Rust, make and Python 3 is installed into .tools/ on first use.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Cargo uses all cores by itself, and two of its commands only wait for each other.
.NOTPARALLEL:

CARGO ?= cargo
PYTHON ?= python3
export CARGO PYTHON

target := $(or $(CARGO_TARGET_DIR),target)
beamrail := $(target)/release/beamrail

## Build and try

.PHONY: build
build: tools ## Compile the release binary, target/release/beamrail
	@$(CARGO) build --release --locked

.PHONY: demo
demo: build ## The whole flow on three sites, with a simulated scan (DEMO="--dir DIR --size small")
	@$(beamrail) demo $(DEMO)

.PHONY: dist
dist: tools ## One binary for the facilities (glibc 2.28 and newer), checked and tried, in dist/
	@$(PYTHON) tools/dist.py $(DIST)

PREFIX ?= $(HOME)/.local
root := $(DESTDIR)$(PREFIX)
.PHONY: install
install: build ## Install binary, manual pages and bash completion (PREFIX=~/.local)
	@install -D -m 755 $(beamrail) $(root)/bin/beamrail
	@install -d $(root)/share/bash-completion/completions
	@$(beamrail) completions bash >$(root)/share/bash-completion/completions/beamrail
	@$(beamrail) man --out $(root)/share/man/man1 >/dev/null
	@echo "installed $(root)/bin/beamrail"

## Test

.PHONY: test
test: build judges prefect browser ## Run all tests, the examples in the documentation, and the judges
	@$(PYTHON) tools/test.py

.PHONY: test-long
test-long: build judges globus-long prefect browser ## The same and everything too slow for every day
	@BEAMRAIL_LONG=1 $(PYTHON) tools/test.py

.PHONY: bench
bench: build ## Measure: CPU seconds per row by stage, and the floors (minutes; BENCHMARKS.md)
	@tools/bench.sh

.PHONY: bench-full
bench-full: build ## The same for the record job, 980 rows or as many as half the free disk holds
	@tools/bench.sh --full

.PHONY: bench-viewer
bench-viewer: build browser ## Measure the viewer on 2560 x 2560 x 256 voxels: first slice, moving, 20 viewers, memory
	@tools/bench_viewer.sh

.PHONY: bench-prefect
bench-prefect: tools prefect ## What a run on Prefect costs besides its work, beside Prefect's own worker (minutes)
	@$(PYTHON) tools/prefect_overhead.py

.PHONY: instructions
instructions: build ## Count instructions of small jobs, against those recorded
	@tools/install.sh instructions
	@$(CARGO) build --release --locked --package beamrail-tomo --examples
	@$(PYTHON) tools/instructions.py

.PHONY: fuzz
fuzz: tools ## Fuzz the readers (needs nightly and cargo-fuzz; FUZZ=open_scan FUZZ_SECONDS=60)
	@$(CARGO) +nightly fuzz run $(or $(FUZZ),open_scan) -- -max_total_time=$(or $(FUZZ_SECONDS),60)

## Check

.PHONY: check
check: format tidy links audit lint docs ## Everything that is checked without running the code

.PHONY: format
format: ## Formatting is rustfmt's
	@$(CARGO) fmt --all --check || { echo "format: run make fmt" >&2; exit 1; }

.PHONY: tidy
tidy: tools ## House rules: sizes, leftovers, scripts, who may use whom
	@$(PYTHON) tools/tidy.py

.PHONY: links
links: tools ## No dead link in any Markdown file
	@$(PYTHON) tools/links.py

.PHONY: audit
audit: tools ## Dependencies: sources, licences, yanked versions, advisories where reachable
	@$(PYTHON) tools/audit.py

.PHONY: lint
lint: tools ## clippy without warnings
	@$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

.PHONY: docs
docs: tools ## API documentation without warnings (target/doc)
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps

## Keep house

.PHONY: tools
tools: ## Install what the build needs into .tools/build
	@tools/install.sh build

.PHONY: judges
judges: ## Install into .tools/ the Python software that judges our files and services
	@tools/install.sh judges

.PHONY: globus-long
globus-long: ## Install the compute workers that make test-long needs
	@tools/install.sh globus-long

.PHONY: prefect
prefect: ## Install the Prefect servers that the tests start into .tools/prefect3 and .tools/prefect2
	@tools/install.sh prefect

.PHONY: browser
browser: ## Install Chromium, and what builds and tests the viewer's page, into ui/node_modules
	@tools/install.sh browser

.PHONY: ui
ui: browser ## Build the viewer's page into ui/dist, which is committed and compiled in
	@cd ui && npm run --silent build

.PHONY: fmt
fmt: ## Format the code
	@$(CARGO) fmt --all

.PHONY: clean
clean: ## Remove what was compiled
	@$(CARGO) clean

.PHONY: distclean
distclean: clean ## Remove .tools too
	@rm -rf .tools

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^## / { printf "\n%s\n", substr($$0, 4) } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
