# `make help` says what there is. Everything but `help` and `clean` sets up .venv first if needed.
#
# With the versions that GPU machines bring:
#     make test VENV=.venv-device CONSTRAINTS=constraints-device.txt PYTHON=python3.12
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
RUN    ?= runs/demo
# Processes that pass the tests; each takes one core and up to 3 GB.
JOBS   ?= 2
CONSTRAINTS ?= constraints.txt

CPU_WHEELS := https://download.pytorch.org/whl/cpu
TORCH      := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' $(CONSTRAINTS))
PIP        := $(VENV)/bin/python -m pip --disable-pip-version-check install -qq -c $(CONSTRAINTS)

# What `make fast` passes: the tests of contracts and rules, without runs, processes or compilers. Of the policies those
# of options, schedules and single decisions: twins, oracles and memory take two and a half minutes more.
POLICY_RULES := $(addprefix tests/engine/policies/, test_llada.py test_parallel_edges.py test_parallel_options.py test_policies.py)
QUICK  := tests/test_architecture.py tests/test_readme.py tests/test_counts.py $(POLICY_RULES) tests/engine/problems \
          tests/engine/answers tests/engine/store/format tests/engine/test_registry.py tests/kernels/test_reference.py \
          tests/kernels/test_head.py tests/analysis/metrics tests/analysis/findings

# Tests that read the documents: paths, tables of the schema and of problem shapes, examples, the walk through a plug-in.
PAGES  := tests/test_readme.py tests/test_architecture.py tests/test_plugins.py \
          tests/engine/store/format/test_schema.py tests/engine/problems/test_shapes.py

.PHONY: help demo test fast lint format docs clean

help:
	@echo "make demo     run the bundled model over thirty problems and analyse the run"
	@echo "make test     style, types and every test (ARGS=\"-k store\" chooses, JOBS=4 for more cores)"
	@echo "make fast     style, types, a small run and the quick tests: under a minute"
	@echo "make lint     style and types alone"
	@echo "make format   put every file into the form that lint asks for"
	@echo "make docs     try the documents: their tables, paths, commands and examples"
	@echo "make clean    remove what the others have made, runs/ excepted"

demo: $(VENV)/.ready
	$(VENV)/bin/diffengine run --problems samples --problems generated:20 --out $(RUN)
	$(VENV)/bin/diffengine analyze $(RUN)
	@echo "The dashboard lies in $(abspath $(RUN))/comprehensive_dashboard.png"

test: lint
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(ARGS)

fast: lint
	rm -rf runs/.fast
	$(VENV)/bin/diffengine run --problems samples --limit 3 --out runs/.fast
	$(VENV)/bin/diffengine verify runs/.fast
	rm -rf runs/.fast
	$(VENV)/bin/python -m pytest -n $(JOBS) -q $(QUICK)

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.ready
	$(VENV)/bin/python -m pytest -q $(PAGES)

# A machine without a GPU takes torch's CPU build, a tenth of the download; only where no such build can be had does it
# fall back on the default one. With a GPU, faiss-gpu and cuML are taken if they install, together or one of them, else
# their CPU counterparts.
$(VENV)/.ready: setup.py $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "diffengine needs Python 3.11 or newer; set PYTHON=python3.12")'
	@echo "Setting up $(VENV) (a few minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "No venv could be made; on Debian: apt install python3-venv"; exit 1; }
	@if nvidia-smi -L >/dev/null 2>&1; then \
	    $(PIP) -e '.[gpu,test]' || \
	    { echo "faiss-gpu and cuML do not install together here; going on without cuML."; \
	      $(PIP) -e '.[faiss-gpu,tsne,test]'; } || \
	    { echo "faiss-gpu cannot be installed here; going on with cuML alone."; $(PIP) -e '.[cuml,test]'; } || \
	    { echo "cuML neither; going on with their CPU counterparts."; $(PIP) -e '.[cpu,test]'; }; \
	else \
	    $(PIP) --no-deps --retries 2 --timeout 20 --extra-index-url $(CPU_WHEELS) '$(TORCH)+cpu' 2>/dev/null || \
	    echo "No CPU build of $(TORCH) could be had; taking the default one, which may bring CUDA libraries (2.7 GB)."; \
	    $(PIP) -e '.[cpu,test]'; \
	fi || { \
	    echo "The packages could not be installed. Where this Python has torch and transformers already, no install is"; \
	    echo "needed: PYTHONPATH=.src $(PYTHON) -m diffengine run"; exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
