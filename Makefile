# make            lists the targets
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= model=vae data=adhd latent_dim=5
SWEEP ?= sweep=latent model=vae data=adhd
# real data beside a development checkout, if it is there; set DATA_DIR to use your own
export DATA_DIR ?= $(if $(wildcard ../shared/data),../shared/data,)

# workers and the hundreds of processes that tests start share compiled modules, which `make clean` removes
test test-journeys test-all: export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help install train sweep test test-journeys test-all lint format bench smoke evaluate serve notebooks docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## make .venv and install the project with its tools
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,sweep,serve,notebooks,docs]'
	touch $@

train: install ## train a model: make train ARGS="model=vae data=iris"
	$(BIN)/python -m src.train $(ARGS)

sweep: install ## sweep: make sweep SWEEP="sweep=latent model=vae data=iris"
	$(BIN)/python -m src.train $(SWEEP)

evaluate: install ## measure a run again: make evaluate ARGS="run=outputs/..."
	$(BIN)/python -m src.evaluate $(if $(filter file,$(origin ARGS)),,$(ARGS))

serve: install ## a page and an API on this machine: make serve ARGS_SERVE="port=8001"
	$(BIN)/python -m src.serve root=outputs $(ARGS_SERVE)

test: install ## the tests, a few minutes
	$(BIN)/python -m pytest -n auto --dist loadfile

test-journeys: install ## whole runs and dearer cases, which CI runs too
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'journey and not slow'

test-all: install ## every test, the slow ones too
	$(BIN)/python -m pytest -n auto --dist loadfile -m ''

lint: install ## what CI checks: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: install ## one short run of everything
	$(BIN)/python -m src.train model=vae data=toy epochs=20

bench: install ## speed and memory, beside plain loops and other libraries
	$(BIN)/python -m bench $(ARGS_BENCH)

notebooks: install ## execute the notebooks
	$(BIN)/python -m pytest -m '' tests/test_notebooks.py

docs: install ## the site, into outputs/site; open its index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/mkdocs.yml

clean: ## remove caches and the environment, never outputs
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
