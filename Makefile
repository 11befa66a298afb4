# Two commands are enough: `make demo` and `make test`. Each sets up what it needs first, and on a
# second run finds in a moment that nothing is to be done. `make help` lists the rest.

PYTHON ?= python3

# Another Python, named on the command line, gets an environment of its own.
VENV ?= .venv$(if $(filter command,$(firstword $(origin PYTHON))),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin

SOURCES := daemon executor agent scripts tests

# PLAY names a play of ours or the file of any other. With nobody at a terminal there is nobody to
# chat with, so the main play is played instead of waiting for ever.
play = $(or $(PLAY),$(shell [ -t 0 ] || echo main))

# Servers that nobody here wrote, to be held against: what `test-peers` fetches into .peers.
PEERS := @copilotkit/aimock@1.43.0 @modelcontextprotocol/server-everything@2026.8.31 \
	telegram-test-api@4.2.1
PEERS_READY := $(if $(shell command -v npm),.peers/ready)

# The tests start the program hundreds of times, and it should not be compiled anew for each.
unexport PYTHONDONTWRITEBYTECODE

# Pytest's own options, for example: make test ARGS='-k outbox -x'
ARGS ?=

.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ready-run  ## chat here, against a local Telegram (WEB=1: in a browser; PLAY=main: play it)
	@$(BIN)/famulus demo $(if $(WEB),--web,$(addprefix --play ,$(play)))

# Whoever chooses among the tests gets one pytest, all others two at a time.
test: ready-test lint  ## lint, types and the tests
	$(BIN)/$(if $(ARGS),pytest,python -m tests.harness.halves) -m "not slow and not peers" $(ARGS)

test-all: ready-test lint  ## the same with the long forms of the suites
	$(BIN)/pytest $(ARGS)

test-peers: ready-test $(PEERS_READY)  ## against servers of others, from npm; needs node and the network
	$(BIN)/pytest -m peers $(ARGS)

screenshots: ready-test  ## take the pictures of docs/ anew, in a Chromium of this system
	$(BIN)/python scripts/screenshots.py

bench: ready-test  ## measure speed and memory; prints figures, asserts nothing
	$(BIN)/python -m tests.bench $(ARGS)

lint: ready-test  ## ruff, flake8-async and mypy
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@$(MAKE) --no-print-directory -j 2 $(ASYNC_CHECKED) types

format: ready-test  ## put the sources into the one format
	$(BIN)/ruff check --fix --quiet $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.peers/ready: Makefile
	npm install --prefix .peers --no-audit --no-fund --no-package-lock --ignore-scripts $(PEERS)
	@touch $@

wheel: ready-wheel  ## build dist/famulus-*.whl
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

# Accounts, directories and units, for a server; nothing is started. See README, "On a server".
install-units:  ## as root: install the systemd units, and the accounts that they need
	install -D -m 644 -t $(DESTDIR)/etc/systemd/system \
		systemd/famulus.service systemd/famulus-exec.service systemd/famulus-exec.socket
	install -D -m 644 -t $(DESTDIR)/etc/sysusers.d systemd/sysusers.d/famulus.conf
	install -D -m 644 -t $(DESTDIR)/etc/tmpfiles.d systemd/tmpfiles.d/famulus.conf
ifeq ($(DESTDIR),)
	systemd-sysusers famulus.conf
	systemd-tmpfiles --create famulus.conf
	[ ! -d /run/systemd/system ] || systemctl daemon-reload
endif

lock: ready-test  ## write the locks anew from pyproject.toml (UPGRADE=1: newest of everything)
	scripts/lock $(BIN)/python

clean:  ## remove what the other targets made, environments too
	rm -rf .venv* .peers .oracles* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .bench
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

# Beside flake8-async, as a part of `lint`.
types: ready-test
	$(BIN)/mypy

# flake8-async is asked for what ruff does not know: cleanup without a shield or a deadline,
# Cancelled swallowed, yields inside scopes and nurseries, and the like. It takes 1 ms a line, so it is
# shown only files with a word of what it looks for, and of these what changed since it was content.
ASYNC_RULES := ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC106,ASYNC111,ASYNC112,ASYNC113,ASYNC118,$\
	ASYNC120,ASYNC121,ASYNC122,ASYNC123,ASYNC125,ASYNC126,ASYNC300,ASYNC400,ASYNC401
ASYNC_CHECKED := $(VENV)/flake8-async.checked
ASYNC_WORDS := async|await|trio|except\*|except:|BaseException|ExceptionGroup
ASYNC_SOURCES := $(shell grep -rlE '$(ASYNC_WORDS)' --include='*.py' $(SOURCES) 2>/dev/null)

$(ASYNC_CHECKED): $(ASYNC_SOURCES) Makefile
	@echo $(BIN)/flake8-async ...
	@echo $(if $(filter Makefile,$?),$(ASYNC_SOURCES),$?) | xargs -n 24 -P 2 $(BIN)/flake8-async \
		--enable=$(subst $() ,,$(ASYNC_RULES))
	@touch $@

# What `demo` needs, what `wheel` needs, and what everything else needs.
ready-run ready-wheel ready-test: ready-%:
	@$(PYTHON) scripts/prepare.py $* --venv $(VENV)

.PHONY: help demo test test-all test-peers screenshots bench lint types format wheel install-units \
	lock clean ready-run ready-wheel ready-test
