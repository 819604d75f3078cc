PYTHON ?= python3.11
VENV := .venv
INSTALLED := $(VENV)/.installed
UNCOMPRESSED := DIST_EXTRA_CONFIG="$(CURDIR)/$(VENV)/wheels.cfg"

.DEFAULT_GOAL := help
.PHONY: help install demo test chaos bench pages check lock clean
.DELETE_ON_ERROR:

help: ## this list
	@echo "promolake: make TARGET"
	@sed -n 's/^\([a-z]*\):.*## /  \1	/p' $(MAKEFILE_LIST)

install: $(INSTALLED) ## a virtual environment in ./.venv from the locked requirements, and the jars

$(INSTALLED): requirements-build.lock requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null \
		|| { echo "promolake needs Python 3.11 or 3.12, and $(PYTHON) is not one: install it, or name it with make PYTHON=..." >&2; exit 3; }
	@echo "[1/4] a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: python3.11-venv)." >&2; exit 3; }
	@echo "[2/4] the locked requirements (pyspark alone is 430 MB)"
	@# pyspark comes as source: it is built with the locked tools, not with the newest ones of the day.
	@# Its wheel is made only to be unpacked, so it is not compressed: 12 s instead of 26.
	@$(VENV)/bin/pip install --quiet --require-hashes -r requirements-build.lock
	@printf '[bdist_wheel]\ncompression = stored\n' > $(VENV)/wheels.cfg
	@$(UNCOMPRESSED) $(VENV)/bin/uv pip install --python $(VENV)/bin/python --no-build-isolation --require-hashes \
		-r requirements.lock \
		|| { echo "uv could not (it does not read pip's settings, a mirror's address for one): pip does it, which takes a minute longer"; \
		$(UNCOMPRESSED) $(VENV)/bin/pip install --no-build-isolation --require-hashes -r requirements.lock; }
	@echo "[3/4] promolake itself"
	@$(VENV)/bin/pip install --quiet --no-build-isolation --no-deps -e .
	@echo "[4/4] the jars of Delta, Spark's Kafka source and the Kafka broker; and the classes Spark and the broker load, kept as Java has"
	@echo "      them in memory: each later start is some seconds shorter"
	@# Meanwhile what was installed is compiled: an environment may forbid Python to keep what it compiles, and every start would pay.
	@nice $(VENV)/bin/python -W ignore -m compileall -qq -j 2 -x '/tests?/' $(VENV)/lib src & $(VENV)/bin/python -m promolake.cli.priming; primed=$$?; wait; exit $$primed
	@touch $@

demo: $(INSTALLED) ## a promotion day from a real Kafka broker into gold tables; MINUTES=2 RATE=1000 SEED=7 as you like
	@$(VENV)/bin/promolake demo $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) $(if $(SEED),--seed $(SEED))

test: $(INSTALLED) ## every test, by three workers; ARGS="-k words" for some of them
	@$(VENV)/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(INSTALLED) ## the long fault tests: kills at every point, broker, disk; SEED=7 to repeat a run, ARGS="-k words"
	@CHAOS_SEED=$(or $(SEED),$(shell date +%s)) $(VENV)/bin/python -m pytest -m chaos -s tests/chaos $(ARGS)

bench: $(INSTALLED) ## measurements, for an idle machine; QUICK=1 for ten minutes of the engine comparison, ARGS="-k words" for some
	@$(VENV)/bin/python -m pytest -m bench -s tests/bench$(if $(QUICK),/test_engines.py) $(ARGS)

pages: $(INSTALLED) ## what is generated from the contracts anew: TABLES.md and the hallway's picture
	@$(VENV)/bin/promolake tables --format markdown > TABLES.md
	@$(VENV)/bin/python infra/pictures/hallway.py

check: $(INSTALLED) ## style, the rooms' import contracts, this machine and its settings
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/promolake check

LOCK := $(VENV)/bin/uv pip compile --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --quiet

lock: $(INSTALLED) ## both requirements files anew from pyproject.toml
	@$(LOCK) pyproject.toml --group dev --output-file requirements.lock
	@$(LOCK) --group build --constraint requirements.lock --output-file requirements-build.lock

clean: ## removes what make and the tools made here; never a lake
	@rm -rf $(VENV) dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests pipelines -name __pycache__ -type d -prune -exec rm -rf {} +
