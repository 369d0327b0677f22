# make run    install, start everything, print the address
# make test   install and run every test level that this machine can run
# make demo   the main job, headless, through the public API with the official openai SDK
# make proof  the long proofs, each with a verdict of its own; proofs/all.py lists them
# make bench  train beside TRL on this machine and print tokens a second, memory and losses (ARGS="--help")
# make screenshots   drive the real site and write docs/img/*.png

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV = .venv/bin/python

run: install
	@$(VENV) manage.py up

install:
	@$(PYTHON) scripts/install.py

install-test:
	@$(PYTHON) scripts/install.py --extra test

test: install-test
	@$(VENV) scripts/test.py

check: install-test
	@$(VENV) scripts/test.py --checks-only

demo: install
	@$(VENV) -m proofs.demo

proof: install-test
	@$(VENV) -m proofs.all

bench: install
	@$(VENV) -m benchmarks.training $(ARGS)

screenshots: install-test
	@$(VENV) -m proofs.screenshots

format:
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

.PHONY: run install install-test test check demo proof bench screenshots format
