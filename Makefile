# Two commands for a newcomer: `make demo` and `make test`. Both install what they need on the first run and nothing on the second.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Two spinning OpenMP threads beside another process make small models ten times slower.
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false

.PHONY: install demo test test-slow lint bench page docs clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/moalign demo --output_dir runs/demo

# Hundreds of tests start processes, servers and browsers, which a busy machine can stall: up to three tests that fail are tried once more, and shown.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks

test: $(INSTALLED)
	$(PYTEST) -m "not slow" $(ARGS)

# The tests that take more than 20 seconds each.
test-slow: $(INSTALLED)
	$(PYTEST) -m slow $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --quick $(ARGS)

# After a change in web/: builds the server's page into moalign/serving/page/, which is committed with it.
page:
	cd web && npm ci --no-audit --no-fund && npm run build

# The documentation in build/site, with the notebooks' outputs (some minutes); RUN_NOTEBOOKS=false leaves them out.
docs: $(INSTALLED)
	RUN_NOTEBOOKS=$${RUN_NOTEBOOKS:-true} NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv runs build dist *.egg-info
