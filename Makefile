# The commands of the house. Each works on a fresh Debian or Ubuntu machine with Python 3.11 and make, and nothing else.

PYTHON := .venv/bin/python
# Who gets which tests says tests/sharing_out.py. Three processes also on two cores: much of the time is waiting.
SHARED_OUT := -n 3 --dist loadfile --no-loadscope-reorder
PYTEST := $(PYTHON) -m pytest $(SHARED_OUT)
UV_COMPILE := .venv/bin/uv pip compile --universal --generate-hashes --no-header --quiet

.PHONY: help set-up demo demo-reset test bench picture lint format lab-up lab-down lock

help:
	@echo "make demo        install what is missing, start real machines and the product; Ctrl-C ends it"
	@echo "make demo-reset  delete what the demo keeps: database, machines, snapshots"
	@echo "make test        install what is missing, lint, run every test (make test ARGS='-k tree' for some)"
	@echo "make bench       print the figures of the speed bars (make bench ARGS=--large also with a million VM snapshots)"
	@echo "make picture     make the README's pictures anew"
	@echo "make lint        format, lint, types, import contracts, migrations, templates"
	@echo "make lab-up      only the lab of real machines; make lab-down stops it"
	@echo "make lock        renew the locked requirement files from pyproject.toml"

set-up:
	@deployment/set_up test

demo:
	@deployment/set_up demo
	@exec $(PYTHON) manage.py run_all

demo-reset:
	@deployment/set_up demo
	@exec deployment/delete_data

test:
	@deployment/set_up test
	@$(MAKE) --no-print-directory lint
	@$(PYTEST) $(ARGS)
	$(if $(ARGS),,@$(PYTHON) -m tests.on_postgresql $(SHARED_OUT))

bench:
	@deployment/set_up test
	@exec $(PYTHON) -m tests.bench $(ARGS)

picture:
	@deployment/set_up test
	@exec $(PYTHON) -m tests.browser.readme_picture

lint:
	@deployment/set_up test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) manage.py makemigrations --check --dry-run --settings vmsnap_site.settings_for_tests
	.venv/bin/djhtml --check templates

format:
	@deployment/set_up test
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/djhtml templates

lab-up:
	@deployment/set_up demo
	@$(PYTHON) manage.py lab_up

lab-down:
	@$(PYTHON) manage.py lab_down

# The runtime lock comes first: the development lock may add to it, never differ from it.
lock:
	@deployment/set_up demo
	$(UV_COMPILE) requirements/uv.in -o requirements/uv.txt
	$(UV_COMPILE) requirements/npm.in -o requirements/npm.txt
	$(UV_COMPILE) pyproject.toml --all-extras -o requirements/runtime.txt
	$(UV_COMPILE) pyproject.toml --all-extras --group test --group lint -c requirements/runtime.txt -o requirements/development.txt
