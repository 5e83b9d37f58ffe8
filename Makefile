# Sets up what it needs and does it. Everything Python goes into .venv/; the system's Python is left alone.

PYTHON ?=
.DEFAULT_GOAL := help
.PHONY: help demo test lint setup servers format docs clean

help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

demo: ## what this is, shown in the terminal in under a minute; needs no server
	@PYTHON="$(PYTHON)" scripts/venv.sh
	@.venv/bin/python -m examples.demo

test: setup servers lint ## set everything up, RabbitMQ and Redis included, and run every check
	.venv/bin/python -m pytest

lint: setup ## ruff, mypy, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

setup: ## .venv/ with the package and the tools of its developers
	@PYTHON="$(PYTHON)" scripts/venv.sh dev

servers: ## RabbitMQ, Redis and Chromium for the tests, where they are missing
	@scripts/install-servers.sh

format: setup ## let ruff lay out the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: setup ## draw the protocol's tables and diagrams in docs/ anew, and write docs/reference/
	.venv/bin/python -m scripts.protocol_diagram --write
	.venv/bin/python -m scripts.reference --write

clean: ## remove what was made here
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
