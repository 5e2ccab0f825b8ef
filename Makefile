# make run    the app          make test    every test, in a real browser too
# make site   the figures as a static web site
# make check  the quick checks  make help    the rest

VENV ?= .venv
HOST ?= localhost
OUT ?= dist
PY := $(VENV)/bin/python
USER_STAMP := $(VENV)/.requirements
DEV_STAMP := $(VENV)/.requirements-dev
SITE_STAMP := $(VENV)/.requirements-site
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest
# What other sites make a browser send to this machine comes under their own names.
LOCAL := $(foreach name,localhost 127.0.0.1 ::1,--server.allowedHosts $(name))
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
MALLOC_ARENA_MAX ?= 2# or glibc keeps memory for every thread that a server ever had
export PYTHON CHROMIUM MALLOC_ARENA_MAX
unexport PYTHONDONTWRITEBYTECODE # or each process of the tests compiles everything again

# A virtual environment whose Python has since been removed is made anew.
$(shell if [ -L $(PY) ] && [ ! -e $(PY) ]; then rm -rf $(VENV); fi)

.PHONY: help run site test every-test check quick-tests lint format bench load fuzz clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1\t\2/p' Makefile | expand -t 16

run: $(USER_STAMP)  ## start the app (PORT=8600; HOST=0.0.0.0 for others to reach it; ARGS="…" for Streamlit's)
	@$(PY) -m streamlit run app.py --server.showEmailPrompt false \
		--server.address $(HOST) $(if $(filter localhost 127.0.0.1,$(HOST)),$(LOCAL)) $(if $(PORT),--server.port $(PORT)) $(ARGS)

site: $(USER_STAMP) $(SITE_STAMP)  ## the figures as static files that need no server of ours (OUT=dist; ARGS="--app URL")
	$(PY) -m cfviz site --out $(OUT) $(ARGS)

# The linters run beside the tests: what these leave of the cores while they wait for a browser is enough.
test: $(DEV_STAMP)  ## all tests, those in a browser included, and the linters (ARGS="…" for pytest's)
	@scripts/browser.sh $(PY)
	-@PYTHONPATH=. $(PY) -P cfviz/site/runtime.py
	@$(MAKE) --no-print-directory -j 2 lint every-test

# One process more than there are cores: many tests wait for a browser.
every-test: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(PYTEST) -n $$(($(CORES) < 4 ? $(CORES) + 1 : 4)) $(ARGS)

check: $(DEV_STAMP)  ## linters, types and the quick tests
	@$(MAKE) --no-print-directory -j 2 lint quick-tests

quick-tests: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(PYTEST) -n logical -m "not slow and not browser" $(ARGS)

lint: $(DEV_STAMP)  ## ruff and mypy; oxlint and oxfmt for the browser's code
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/oxlint --deny-warnings cfviz/web
	$(VENV)/bin/oxfmt --check cfviz/web

format: $(DEV_STAMP)  ## format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(VENV)/bin/oxlint --fix --deny-warnings cfviz/web
	$(VENV)/bin/oxfmt cfviz/web

bench: $(DEV_STAMP)  ## timings (REFERENCE=checkout of the authors' code to compare, ARGS="…")
	@scripts/browser.sh $(PY)
	$(PY) -m bench $(if $(REFERENCE),--reference "$(REFERENCE)") $(ARGS)

fuzz: $(DEV_STAMP)  ## malformed photos, weights, links, messages, frames, lessons, jobs and uploads sent to every entry point (ARGS="--seed 7 --minutes 5", "--help")
	$(PY) -m tests.fuzz $(ARGS)

load: $(DEV_STAMP)  ## fifty readers at once against a server of its own (ARGS="--users 50 --seconds 1800")
	$(PY) -m bench.load $(ARGS)

clean:  ## remove what was built here: the virtual environment, caches, reports
	rm -rf $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache .bench .fuzz build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second `make run` start at once; a changed list of requirements installs again.
$(USER_STAMP): requirements.txt | $(PY)
	@echo "Installing what cfviz needs (the first time takes a few minutes)"
	@$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt requirements.txt | $(PY)
	@echo "Installing what cfviz and its tests need (the first time takes a few minutes)"
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $(USER_STAMP) $@

# What exports the model for readers' own photos. Without it the site is made, too, and says what it lacks.
$(SITE_STAMP): requirements-dev.txt | $(USER_STAMP)
	@$(PIP_INSTALL) $$(grep -E "^onnx" requirements-dev.txt) && touch $@ || true

$(PY):
	@scripts/venv.sh $(VENV)
