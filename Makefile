# Nothing but Python 3.11 and the package registries is needed. PYTHON chooses another interpreter, VENV another place.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo test test-slow lint benchmark clean

$(BIN)/.installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(BIN)/.installed
	$(BIN)/python -m pipelines.demo $(DEMO)

test: $(BIN)/.installed
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(BIN)/.installed
	$(BIN)/python -m pytest -m slow

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy

benchmark: $(BIN)/.installed
	$(BIN)/python -m benchmarks.tfidf_stage

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
