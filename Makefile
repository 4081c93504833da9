# make demo   reconstruct two portraits with the bundled weights into out/demo
# make test   run the tests
# make lint   style; make types: mypy
#
# They first build their own environment; all they need is Python 3.10 to 3.13 with pip.
# Variables: PYTHON=python3.12, VENV=path, PIP_FLAGS="--index-url …" (for another build of PyTorch), ARGS="…".

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
ARGS ?=

TORCH := torch==2.13.0
# The [test] extra of pyproject.toml.
TOOLS := pytest pytest-xdist ruff mypy matplotlib accelerate pyyaml embreex pillow-heif

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.installed

.PHONY: demo test lint types venv clean

demo: venv
	$(BIN)/python -m dualenc_core demo --out out/demo $(ARGS)

test: venv
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: venv
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

# The pack is a package whose folder may have a name that Python cannot have, such as ComfyUI-DualEnc.
types: venv
	mkdir -p "$(VENV)/types" && ln -sfn "$(CURDIR)" "$(VENV)/types/pack"
	cd "$(VENV)/types" && "$(abspath $(BIN))/python" -m mypy --config-file pack/pyproject.toml -p pack.dualenc_core -p pack.nodes

venv: $(STAMP)

$(STAMP): constraints.txt requirements.txt Makefile
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else 'Python %d.%d is not supported; make PYTHON=… with 3.10 to 3.13' % v)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_FLAGS) -c constraints.txt $(TORCH) -r requirements.txt $(TOOLS)
	@touch $(STAMP)

clean:
	rm -rf $(VENV)
