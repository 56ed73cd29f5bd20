# make demo · make test            everything, on a fresh Debian machine with Python 3.11 or newer
# make unit · make browsers · make lint        each part alone
# make schemas     the protocol's documents, unless they would break clients
# make coverage-calls              the tables of call control, with the tests that hold them

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The tests without browsers run on two cores; tests/support/browsers_alone.py keeps the others for last, by themselves.
PARALLEL ?= -n 2 --dist loadgroup --no-loadscope-reorder
UNIT := tests/unit tests/sim tests/model tests/conformance tests/fuzz tests/interop tests/packaging

.PHONY: demo test unit browsers schemas coverage-calls lint browsers-installed clean

demo: $(VENV)/.installed
	$(BIN)/triortc demo --out demo-output

# One run, one summary. Root can give the browsers a network of their own; nobody else can.
test: browsers-installed lint $(VENV)/.installed
	tools/in_private_network.sh $(BIN)/pytest $(PARALLEL)

unit: $(VENV)/.installed
	$(BIN)/pytest $(PARALLEL) $(UNIT)

browsers: browsers-installed $(VENV)/.installed
	tools/in_private_network.sh $(BIN)/pytest tests/browsers

# Which tests take which row of call control's tables; and whether a test fails when a row is deleted.
coverage-calls: $(VENV)/.installed
	$(BIN)/python tools/mutate_call_tables.py --calls-coverage

schemas: $(VENV)/.installed
	mkdir -p .build
	$(BIN)/triortc schema --changes docs/schema/triortc.v1.json
	$(BIN)/triortc schema > .build/triortc.v1.json && mv .build/triortc.v1.json docs/schema/triortc.v1.json
	$(BIN)/triortc asyncapi > .build/asyncapi.yaml && mv .build/asyncapi.yaml docs/schema/asyncapi.yaml

lint: $(VENV)/.installed
	VENV=$(VENV) tools/check.sh
	VENV=$(VENV) tools/check_javascript.sh

browsers-installed:
	tools/install_browsers.sh

$(VENV)/.installed: pyproject.toml setup.py $(wildcard engine/relay/forwarder*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) .build build demo-output *.egg-info
