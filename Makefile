# Needs Python 3.11 with venv; installs the rest, once, into .venv and .label-studio/venv.
#   make run                the demo: a Label Studio of its own, the backend, and a project to annotate
#   make run SIMULATE=1     the same, with a scripted annotator
#   make run LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=...     for your Label Studio
#   make test               ruff, mypy and all tests, also those against a real Label Studio and in a browser
#   make test-fast          ruff, mypy and the quick tests
#   make lint               ruff and mypy
#   make audit              bandit, and known advisories against what is installed (where the network allows)
#   make label-studio       install a Label Studio for the tests and the demo (run and test do it themselves)
#   make chromium           install Debian's Chromium for the tests (test does it itself; none where there is one)
#   make clean              remove what was installed, the demo's data and caches (never data/)
# Settings (README) may stand on the command line, in the environment or in .env.

PYTHON ?= python3.11
LABEL_STUDIO_VERSION := 1.23.2
PIP_INSTALL := -m pip install --quiet --quiet --no-input --disable-pip-version-check --progress-bar off

RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development
# Its own environment, because it pins what we need newer; none where LABEL_STUDIO_BIN names another.
LABEL_STUDIO := $(if $(LABEL_STUDIO_BIN),,.label-studio/venv/.installed-$(LABEL_STUDIO_VERSION))
LABEL_STUDIO_URL ?= $(shell sed -n 's/^LABEL_STUDIO_URL=//p' .env 2>/dev/null)

# CHROMIUM_BIN names another browser than the first on the path.
CHROMIUM := import sys, tests.chromium; sys.exit(tests.chromium.executable() is None)
APT_GET := $$(test $$(id -u) = 0 || echo sudo) env DEBIAN_FRONTEND=noninteractive apt-get -qq

.PHONY: help run test test-fast lint audit label-studio chromium clean

help:
	@sed -n 's/^#   //p' Makefile

run: $(RUNTIME) $(if $(LABEL_STUDIO_URL),,$(LABEL_STUDIO))
	@.venv/bin/python -m demo

test: lint audit $(LABEL_STUDIO) chromium
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: lint
	.venv/bin/python -m pytest -m "not slow" -n 2

lint: $(DEVELOPMENT)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

audit: $(DEVELOPMENT)
	.venv/bin/bandit -q -c pyproject.toml -r corpus taggers strategies labelstudio learning experiments server pools model.py cli.py
	.venv/bin/python -m tests.advisories

label-studio: $(LABEL_STUDIO)

chromium: $(DEVELOPMENT)
	@.venv/bin/python -c "$(CHROMIUM)" || { \
	  echo "Installing Debian's Chromium for the tests in a browser (once) ..." && \
	  $(APT_GET) update && $(APT_GET) install -y --no-install-recommends chromium >/dev/null; \
	} || { \
	  echo "No Chromium, and apt-get could not install it: install one, or set CHROMIUM_BIN to a Chrome or Chromium." >&2; \
	  exit 1; \
	}

clean:
	rm -rf .venv .label-studio .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.txt
	@echo "Installing the backend into .venv (a few minutes, once) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python $(PIP_INSTALL) -r requirements.txt
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	@echo "Installing the tools for tests into .venv ..."
	@.venv/bin/python $(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

.label-studio/venv/.installed-$(LABEL_STUDIO_VERSION):
	@echo "Installing Label Studio $(LABEL_STUDIO_VERSION) into .label-studio/venv (a few minutes, once) ..."
	@$(PYTHON) -m venv .label-studio/venv
	@.label-studio/venv/bin/python $(PIP_INSTALL) label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@
