# Two commands for a fresh machine:  make demo   and   make test
#   PYTHON=python3.12   the interpreter that makes .venv
#   ENV=active          use the environment that is activated already (its own torch stays), no .venv
#   DEVICE=cpu          for the demo; without it a GPU is used where there is one

PYTHON ?= python3
ENV ?= .venv
DEMO ?= output/demo

ifeq ($(ENV),active)
  PY := python
  READY := active-environment
else
  PY := $(ENV)/bin/python
  READY := $(ENV)/.ready
endif

.PHONY: demo test lint clean active-environment

demo: $(READY)
	$(PY) tools/demo.py --output $(DEMO) $(if $(DEVICE),--device $(DEVICE))

test: $(READY) lint
	$(PY) -m pytest

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# The stamp is written last, so an interrupted set-up is taken up again.
$(ENV)/.ready: setup.py requirements.lock tools/install_detectron2.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than Python 3.10: choose another with make PYTHON=..."; exit 1; }
	test -x $(ENV)/bin/python || $(PYTHON) -m venv $(ENV)
	$(PY) -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(PY) tools/install_detectron2.py
	touch $@

active-environment:
	$(PY) -m pip install --disable-pip-version-check --quiet -e '.[test]'
	$(PY) tools/install_detectron2.py

clean:
	rm -rf .venv output build *.egg-info .pytest_cache .ruff_cache
