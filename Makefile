# make demo: a study on embedded data. make test: lint and tests. make studies: the tests
# of studies and others that take minutes, which `make test` leaves out. All install first.

PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed
STUDIES := critical_periods deep_unrolling games large_batch_minima margins \
	matrix_sensing plug_and_play projector resume scale search sparse_recovery
LONG := tests/test_readme.py tests/test_examples.py $(STUDIES:%=tests/apps/test_%.py) \
	tests/losses/test_all_losses.py tests/optimizers/test_factored_gradient_descent.py \
	$(addprefix tests/zoo/models/test_,denoisers.py export.py gancs.py ldamp.py \
	large_margin.py projector.py tunable.py unrolled.py) tests/zoo/study/test_browser.py \
	$(addprefix tests/zoo/solvers/,matrix_sensing/test_solve.py test_damp.py test_sparse.py)
TABLES := $(wildcard $(foreach folder,layers layers/* losses optimizers, \
	tests/$(folder)/test_all_*.py))

.PHONY: demo test studies test-jax test-torch lint types format docs oldest bench

demo: $(INSTALLED)
	$(VENV)/bin/python -m zoo.apps.large_batch

test: lint types
	$(VENV)/bin/python -m pytest --numprocesses=auto --dist=loadfile -k "not jax" \
		$(LONG:%=--ignore=%)

studies: $(INSTALLED)
	$(VENV)/bin/python -m pytest --numprocesses=auto --dist=loadfile $(LONG)

# The tables of parts on other backends; what they cannot know is skipped, and says why.
# And the tests that compare JAX, in a process of its own, with TensorFlow.
test-jax: $(INSTALLED)
	$(VENV)/bin/python -m pytest --numprocesses=auto --dist=loadfile -k jax
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
		$(VENV)/bin/python -m pytest --numprocesses=auto --dist=loadfile $(TABLES)

# Keras multiplies float64 in float32 on PyTorch, which sensing is tested in.
test-torch: $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet torch
	KERAS_BACKEND=torch $(VENV)/bin/python -m pytest --numprocesses=auto \
		--dist=loadfile $(filter-out tests/layers/sensing/%,$(TABLES))

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# mypy reads the packages as they are installed.
types: $(INSTALLED)
	rm -rf build/types build/lib
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation \
		--target build/types .
	$(VENV)/bin/mypy

format: $(INSTALLED)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --editable ".[docs]"
	$(VENV)/bin/python docs/_generate.py
	$(VENV)/bin/mkdocs build --strict

oldest:
	python3.10 -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet --editable ".[test]" \
		--constraint tests/oldest.txt
	.venv-oldest/bin/python -m pytest --override-ini filterwarnings=default \
		--numprocesses=auto --dist=loadfile

bench: $(INSTALLED)
	$(VENV)/bin/python benchmarks/all.py

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	touch $@
