# Requires only Python 3.11 to 3.13 and a package index. The newest interpreter that actually runs is used (a version manager's shim may
# not). PYTHON selects another interpreter, VENV another folder.
PYTHON ?= $(or $(firstword $(foreach version,13 12 11,$(shell python3.$(version) -c 'import venv; print("python3.$(version)")' 2>/dev/null))),python3)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
TOOLS ?= .venv-tools
PADDLE ?= .venv-paddle
LOWEST ?= .venv-lowest
FUZZ_SECONDS ?= 600
# Tests of one file stay in one process, which loads their models once.
PARALLEL ?= -n logical --maxprocesses 4 --dist loadfile
CAPTIONS ?= $(or $(CMCL_DATA),../shared/data)/coco_val2017/captions_val2017.json

# uv takes half of pip's time; where it fails, say because only pip's own configuration names the package index, pip does it.
INSTALL = { $(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable ".[$$extras]" || \
  $(BIN)/python -m pip install --quiet --editable ".[$$extras]"; }

.PHONY: demo environments test test-slow test-runners test-lowest fuzz lint benchmark clean

$(BIN)/.installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'uv>=0.5,<1'
	extras=dev; $(INSTALL)
	touch $@

demo: $(BIN)/.installed
	$(BIN)/python -m pipelines.demo $(DEMO)

test: $(BIN)/.installed
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not runners"

# img2dataset pins conflicting versions, so it has its own environment; without it, the tests that require it are skipped.
$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet 'img2dataset>=1.45,<2' || echo 'img2dataset cannot be installed; its tests will skip'
	touch $@

# Paddle, which writes variables for the converter's test, has its own environment too; without it, that test is skipped.
$(PADDLE)/.installed: $(BIN)/.installed
	test -x $(PADDLE)/bin/python || $(PYTHON) -m venv $(PADDLE)
	$(BIN)/python -m uv pip install --quiet --python $(PADDLE)/bin/python 'paddlepaddle>=2.6,<3.4' || echo 'Paddle cannot be installed; its test will skip'
	touch $@

# fairseq's pins exclude our Python versions, and it is built from source; if that fails, its tests are skipped.
$(BIN)/.fairseq: $(BIN)/.installed
	extras=dev,fairseq; $(INSTALL) && \
	  $(BIN)/python -m pip install --quiet --no-deps fairseq-fixed==0.12.3.1 || echo 'fairseq cannot be built; its tests will skip'
	touch $@

environments: $(BIN)/.fairseq $(TOOLS)/.installed $(PADDLE)/.installed

test-slow: $(BIN)/.installed environments
	CMCL_IMG2DATASET="$$(ls $(CURDIR)/$(TOOLS)/bin/img2dataset 2>/dev/null)" CMCL_PADDLE=$(CURDIR)/$(PADDLE)/bin/python $(BIN)/python -m pytest $(PARALLEL) --no-loadscope-reorder --durations 15 -m "slow and not runners"

# Spark, Flink, Prism, Dataflow templates, object stores, killed runs. Tests that require Java, Maven or Go are skipped without them.
# Files are tested in their order; by number of tests, as is xdist's default, the longest would come last and alone.
test-runners: $(BIN)/.installed
	extras=dev,gcp,s3,http; $(INSTALL)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15 -m runners

# Runs for FUZZ_SECONDS, shared among the targets; on findings, exits with 1 and keeps the inputs in fuzz-findings.
fuzz: $(BIN)/.installed
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

# Tests with the lowest versions that setup.py allows, in a separate environment; run manually when a lower bound or an import changes.
test-lowest: $(BIN)/.installed
	test -x $(LOWEST)/bin/python || $(BIN)/python -m uv venv --quiet --python $(BIN)/python $(LOWEST)
	$(BIN)/python -m uv pip install --quiet --resolution lowest-direct --python $(LOWEST)/bin/python --editable '.[test,s3,http]'
	$(LOWEST)/bin/python -m pytest -m "not slow and not runners" tests/test_examples.py tests/schemas tests/pipelines/test_config.py \
	  tests/transforms/english tests/transforms/tfidf

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(BIN)/.installed
	$(BIN)/python -m benchmarks.tfidf_stage $(CAPTIONS)

# Variables set on the command line may name any folder, so only default folders and virtual environments are removed.
clean:
	rm -rf $(if $(filter file,$(origin DEMO)),demo) build *.egg-info
	for folder in "$(VENV)" "$(TOOLS)" "$(PADDLE)" "$(LOWEST)"; do if test -f "$$folder/pyvenv.cfg"; then rm -rf "$$folder"; fi; done
