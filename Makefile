# The two commands of the README are `make demo` and `make test`. Everything they make lies inside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SDKS := 0.4.5 0.5.1
# Most tests wait for real media: five at a time keep two cores busy. A file's tests stay together, as do its servers.
PYTEST_ARGS ?= -n 5 --dist loadfile --no-loadscope-reorder

export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TMPDIR := $(CURDIR)/.cache/tmp
# The same, as a target: a path with a space would be two.
TMP := .cache/tmp

.PHONY: help demo test check soak system-packages sdk node-sdk sqs-server prefect-oldest lock pictures format clean

help:
	@echo "make demo    record a minute of a sample meeting, here, and look at it in Prefect's UI"
	@echo "make test    linters, type checkers and the whole test suite"
	@echo "make check   only the linters and type checkers"
	@echo "make pictures   make the pictures of README.md anew"
	@echo "make lock    pin the dependencies anew"
	@echo "make clean   remove what these commands made"

demo: $(VENV)/.demo
	@$(BIN)/python deployments/demo.py

test: check sdk node-sdk sqs-server prefect-oldest system-packages
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright

# What the suite does in small, in full: ten thousand alerts while everything is killed at random,
# a recording killed between any two of its outside effects, a thousand recordings that wait at the same time, and every
# change of a publisher's settings behind a relay.
soak: $(VENV)/.dev
	VIDEODB_ALERTS=10000 $(BIN)/python -m pytest -n 0 -v tests/webhooks/test_kills.py
	VIDEODB_SOAK=yes $(BIN)/python -m pytest -n 0 -v tests/flows/matrix
	VIDEODB_PARKED=1000 $(BIN)/python -m pytest -n 0 -v tests/flows/test_many_parked.py
	VIDEODB_SOAK=yes $(BIN)/python -m pytest -n 0 -v tests/local_server/media/test_relay.py

# Makes those of README.md from the demo, which a test of the suite looks at in a browser.
pictures: $(VENV)/.dev system-packages
	VIDEODB_PICTURES=docs $(BIN)/python -m pytest -n 0 tests/deployments/test_demo.py -k records

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

system-packages:
	@./tools/system-packages

sdk: $(SDKS:%=.sdk/%/.done)

.sdk/%/.done: requirements/sdk-%.txt $(VENV)/.dev
	rm -rf .sdk/$*
	$(BIN)/pip install -q --no-deps --require-hashes --target .sdk/$* -r $<
	touch $@

# The lock file has the hash of each package; nothing of a package is executed when it is installed.
node-sdk: .node-sdk/.done

.node-sdk/.done: requirements/node-sdk/package.json requirements/node-sdk/package-lock.json | system-packages
	rm -rf .node-sdk
	mkdir .node-sdk
	cp $^ .node-sdk/
	npm ci --prefix .node-sdk --cache $(CURDIR)/.cache/npm --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

sqs-server: .sqs-server/.done

.sqs-server/.done: requirements/sqs-server.txt $(VENV)/.dev
	rm -rf .sqs-server
	$(BIN)/pip install -q --no-deps --require-hashes --target .sqs-server -r $<
	touch $@

# Prefect alone: what it needs is what the newest needs.
prefect-oldest: .prefect-oldest/.done

.prefect-oldest/.done: requirements/prefect-oldest.txt $(VENV)/.dev
	rm -rf .prefect-oldest
	$(BIN)/pip install -q --no-deps --require-hashes --target .prefect-oldest -r $<
	touch $@

# The files hold everything, so nothing is resolved: pip would ask for the newest of what a dependency leaves open, and
# then refuse it for having no hash.
$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(VENV)/bin/pip $(TMP)
	@echo "Installing what the demo needs; the first time this takes a minute or two …"
	@$(BIN)/pip install -q --no-deps --require-hashes -r requirements/demo.txt
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/pip $(TMP)
	$(BIN)/pip install -q --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.demo

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is older: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python has no venv module here: apt-get install python3-venv"; exit 1; }

$(TMP):
	@mkdir -p $@

lock: $(VENV)/.dev
	./tools/lock

clean:
	rm -rf $(VENV) .demo .cache .sdk .node-sdk .sqs-server .prefect-oldest build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
