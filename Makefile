# The VAE Notebooks: what you can do here. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help env book serve pdf shots test test-unit test-export test-notebooks test-book browser bench export lint format coverage readme dist wasm requirements clean

PYTHON ?= python3
PROFILE ?= cpu
CHAPTER ?=
NAME ?=
PORT ?= 8000
NEWEST ?=
PY := .venv/bin/python
# an environment of the newest packages stays one
STAMP := $(if $(NEWEST),.venv/.newest,$(or $(wildcard .venv/.newest),.venv/.installed))
# where it is set, each of many processes compiles the library anew
export PYTHONDONTWRITEBYTECODE :=
WORKERS := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
CHOICES := $(if $(CHAPTER),--chapter '$(CHAPTER)') $(if $(JOBS),--jobs $(JOBS)) $(if $(THREADS),--threads $(THREADS))

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

env: $(STAMP) ## the environment in .venv, from the pinned list (PYTHON=python3.12: with that interpreter; NEWEST=1: the newest of everything)
ifneq ($(PYTHON),python3)
	@test "$$($(PY) --version)" = "$$($(PYTHON) --version)" || { \
	  echo ".venv has $$($(PY) --version). For that of $(PYTHON): rm -rf .venv, and again."; exit 1; }
endif

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is: $$($(PYTHON) --version 2>&1 | head -1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@test -x .venv/bin/uv || $(PY) -m pip install --quiet --require-hashes -r <(sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt)
	.venv/bin/uv pip install --quiet --compile-bytecode --python $(PY) $(if $(NEWEST),--upgrade -e '.[dev]',--require-hashes -r requirements/dev.txt)
	.venv/bin/uv pip install --quiet --python $(PY) --no-deps --build-constraints requirements/dev.txt -e .
	@rm -f .venv/.installed .venv/.newest; touch $@

book: env ## run what changed and build the pages (PROFILE=cpu|gpu|test, CHAPTER=02 or '02*', JOBS=2, THREADS=1)
	@$(PY) -m book.build --profile $(PROFILE) $(CHOICES)

serve: ## show the built book at http://localhost:8000 (PORT=…)
	@test -f _build/html/index.html || { echo "There is no book yet: make book"; exit 1; }
	@echo "Book: http://localhost:$(PORT)/ (Ctrl-C stops)"
	@$(PYTHON) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

pdf: env browser ## the built book as one PDF: _build/html/vae-notebooks.pdf
	@$(PY) -m book.pdf

shots: env browser ## pictures of every page in _build/shots, wide and phone, light and dark
	@$(PY) -m book.shots

test: env browser ## everything: library, notebooks from the built wheel, the book, its pages in a browser
	$(PY) -m pytest --all --durations=12 -ra $(WORKERS)

test-unit: env ## what takes seconds
	$(PY) -m pytest $(WORKERS)

test-export: env ## whether vae_nb/ is what the notebooks export
	$(PY) -m pytest --all tests/test_notebooks.py -k export

test-notebooks: env ## the notebooks, as nbdev runs them
	.venv/bin/nbdev_test --path nbs --n_workers 2 --timing

test-book: env browser ## the notebooks from the built wheel, the book, its pages in a browser
	$(PY) -m pytest --all tests/test_book.py

# the one without windows needs half the processor time; not every system has it
browser:
	@command -v chromium-headless-shell chromium chromium-browser google-chrome >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  { echo "Installing Chromium for the browser tests"; apt-get update -qq && for package in chromium-headless-shell chromium; do \
	    apt-get install -y -qq --no-install-recommends $$package >/dev/null && exit; done; false; }; } || \
	  echo "No Chromium here, and it could not be installed: the browser tests will be skipped."

bench: env ## the measurements in benchmarks/, all or NAME=…
	$(PY) -m benchmarks $(NAME)

export: env ## clean the notebooks, write how to install the library into them and the pages, and vae_nb/ from them
	$(PY) -m book.colab
	.venv/bin/nbdev_clean
	$(PY) -m book.export
	.venv/bin/nbstripout --keep-id $$(find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')

lint: env ## notebooks and scripts: faults, layout (ruff), and whether the annotations of the library agree (mypy)
	.venv/bin/ruff check
	.venv/bin/ruff format --check --quiet || { echo "Not laid out as ruff does it: make format"; exit 1; }
	.venv/bin/mypy

format: env ## lay out notebooks and scripts, sort their imports
	.venv/bin/ruff check --quiet --fix --select I
	.venv/bin/ruff format --quiet

coverage: env ## which lines of the library the unit tests run: a table, and pages in _build/coverage
	$(PY) -m pytest $(WORKERS) --cov --cov-report=html:_build/coverage --cov-report=term --cov-report=markdown:_build/coverage.md

readme: env ## the parts of README.md that are made: tables, chapters; and its picture, from the pretrained models
	$(PY) -m book.readme --picture

dist: env ## the wheel and the source archive in dist/, the README's links made absolute for PyPI
	rm -rf build/source dist && mkdir -p build/source
	git archive HEAD | tar -x -C build/source
	$(PY) -m book.readme --absolute build/source/README.md
	.venv/bin/uv build --build-constraints requirements/dev.txt --require-hashes --out-dir dist build/source

wasm: env ## compile the explorers' kernels: vae_nb/assets/*.wasm from the C files beside them
	for name in kernels training; do $(PY) -m ziglang cc -target wasm32-freestanding -O3 -msimd128 -nostdlib -Wl,--no-entry -Wl,--strip-all -o vae_nb/assets/$$name.wasm vae_nb/assets/$$name.c || exit 1; done
	@chmod 644 vae_nb/assets/*.wasm

requirements: env ## pin the environment anew: requirements/dev.txt
	.venv/bin/uv pip compile pyproject.toml --universal --extra dev --python-version 3.11 --no-emit-index-url --no-header --no-annotate --generate-hashes --quiet -o requirements/dev.txt

clean: ## remove everything that was built (not .venv)
	rm -rf _build _proc _docs build dist .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
