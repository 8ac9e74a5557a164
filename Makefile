# Two commands: `make demo` runs the main job, `make test` runs the tests. Both set up what they need.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

# Some machines forbid writing bytecode; every process would then compile torch again, which takes ten seconds.
unexport PYTHONDONTWRITEBYTECODE

BOARD   = float-tiny float-tiny@paper float-tiny@official

.PHONY: demo leaderboard test test-portable test-slow test-peers test-gpu test-browser lint docs clean

demo: $(VENV)/.demo
	$(BIN)/python -m floatbench run --protocol synthetic --methods float-tiny --out runs/demo
	$(BIN)/python -m floatbench report runs/demo --page runs/demo/page --videos 6
	@echo
	@echo "Next: open runs/demo/page/index.html, then type"
	@echo "  source $(BIN)/activate"
	@echo "  floatbench demo                                           # a talking portrait"
	@echo "  floatbench score --generated YOURS --reference REAL       # your videos against real ones"

# the board that comes along: what can be run without anybody else's weights; three to five minutes on two cores
leaderboard: $(VENV)/.demo
	$(BIN)/python -m floatbench run --protocol synthetic $(BOARD:%=-m %) --out runs/leaderboard
	for system in $(BOARD); do $(BIN)/python -m floatbench leaderboard submit runs/leaderboard --method $$system || exit; done
	$(BIN)/python -m floatbench leaderboard validate
	$(BIN)/python -m floatbench leaderboard build

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

# the numerical tests on the kernels of other processors, with one and two threads, and on other Pythons that are here
test-portable: $(VENV)/.dev
	$(BIN)/python tests/portable.py

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

test-peers: $(VENV)/.dev
	$(BIN)/python -m pytest -m peers

test-gpu: $(VENV)/.dev
	$(BIN)/python -m pytest -m gpu

test-browser: $(VENV)/.browser
	$(BIN)/python -m pytest -m browser -rs

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# the site, into build/site; a warning is an error
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(BIN)/uv:
	@echo "Making the environment in $(VENV) (about a minute, 6 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8

$(VENV)/.demo: $(BIN)/uv pyproject.toml constraints.txt
	$(PIP) --editable '.[metrics,report]'
	touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $@

# Gradio asks for an older Pillow than the pictures here are read with; the page works with both
$(VENV)/.browser: $(VENV)/.dev overrides-web.txt
	$(PIP) --override overrides-web.txt --editable '.[dev,browser,web]'
	touch $@

$(VENV)/.docs: $(BIN)/uv pyproject.toml constraints.txt
	$(PIP) --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV)
