# make demo   sets up .venv if needed, runs the bundled model over thirty problems and analyses the run
# make test   sets up .venv if needed, then checks style and types and passes the tests (ARGS="-k store" chooses)
#             the same with the versions that GPU machines bring:
#             make test VENV=.venv-device CONSTRAINTS=constraints-device.txt PYTHON=python3.12
# make clean  removes what the two have made, runs/ excepted
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
RUN    ?= runs/demo
CONSTRAINTS ?= constraints.txt

CPU_WHEELS := https://download.pytorch.org/whl/cpu
TORCH      := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' $(CONSTRAINTS))
PIP        := $(VENV)/bin/python -m pip --disable-pip-version-check install -qq -c $(CONSTRAINTS)

.PHONY: demo test clean

demo: $(VENV)/.ready
	$(VENV)/bin/diffengine run --problems samples --problems generated:20 --out $(RUN)
	$(VENV)/bin/diffengine analyze $(RUN)
	@echo "The dashboard lies in $(abspath $(RUN))/comprehensive_dashboard.png"

test: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest $(ARGS)

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
