# Two commands for a fresh machine:  make demo   and   make test
#   PYTHON=python3.12   interpreter of a new .venv (an existing one keeps its own)
#   ENV=active          use the activated environment and its torch, without a .venv
#   TEST_WORKERS=4      processes of the tests (default 2)
#   DEVICE=cpu          run the demo on the CPU; by default on a GPU if there is one

PYTHON ?= python3
TEST_WORKERS ?= 2
ENV ?= .venv

DEMO_CONFIG := configs/clsa_small_synthetic_demo.yaml
DEMO_OUTPUT := output/demo
REID_CONFIG := configs/reid_small_synthetic_demo.yaml
REID_WEIGHTS := output/reid_demo/model_final.pth
DEMO_DATA := $(or $(DETECTRON2_DATASETS),datasets)/synthetic_demo
DEVICE_OPTS := $(if $(DEVICE),MODEL.DEVICE $(DEVICE))

ifeq ($(ENV),active)
  PY := python
  READY := active-environment
else
  PY := $(ENV)/bin/python
  READY := $(ENV)/.ready
endif

.PHONY: demo test lint clean same-python active-environment

# A second run continues the first: data is kept, training resumes.
demo: $(READY)
	$(PY) tools/make_synthetic.py --preset demo $(DEMO_DATA)
	$(PY) tools/train_net.py --config-file $(REID_CONFIG) --resume $(DEVICE_OPTS)
	$(PY) tools/train_net.py --config-file $(DEMO_CONFIG) --resume \
	  MODEL.WEIGHTS $(REID_WEIGHTS) $(DEVICE_OPTS)
	$(PY) tools/eval_search.py --config-file $(DEMO_CONFIG) --dataset synthetic_demo_gallery \
	  --weights $(DEMO_OUTPUT)/model_final.pth --output-dir $(DEMO_OUTPUT)/eval --sheets 8 \
	  $(DEVICE_OPTS)
	@echo "rankings: $(DEMO_OUTPUT)/eval/sheets/rankings.png   curves: $(DEMO_OUTPUT)/curves.png"

test: $(READY) lint
	$(PY) -m pytest -n $(TEST_WORKERS) --dist loadfile

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The stamp is written last: an interrupted installation starts again.
$(ENV)/.ready: setup.py requirements.lock tools/install_detectron2.py | same-python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is older than Python 3.10: choose another with make PYTHON=..."; exit 1; }
	$(PY) -m pip --version || $(PYTHON) -m venv --clear $(ENV)
	$(PY) -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(PY) tools/install_detectron2.py
	touch $@

# PYTHON must not be ignored because an older .venv has another interpreter.
same-python:
ifneq ($(origin PYTHON),file)
	@test ! -e $(PY) || test "`$(PY) -V`" = "`$(PYTHON) -V`" || { echo "$(ENV) has `$(PY) -V`," \
	  "not $(PYTHON): delete it first (make clean also deletes output/)"; exit 1; }
endif

active-environment:
	@test -n "$(VIRTUAL_ENV)$(CONDA_PREFIX)" || { echo "no environment is activated"; exit 1; }
	$(PY) -m pip install --disable-pip-version-check --quiet -e '.[test]'
	$(PY) tools/install_detectron2.py

clean:
	rm -rf .venv output build *.egg-info .pytest_cache .ruff_cache .mypy_cache
