# The whole interface for people and for CI: `make help` lists it.

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
PEERS_VENV := .venv-peers
INSTALL = $(VENV)/bin/python -m pip install --quiet -c constraints.txt -e
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help train test test-all fuzz-study check anchors models screenshot finding bench bench-peers bench-llm-peers bench-learning bench-slice

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(VENV)/.train ## run the main job: examples/quickstart.toml -> runs/quickstart (ARGS="updates=5" overrides)
	$(VENV)/bin/marl train examples/quickstart.toml --overwrite $(ARGS)

test: $(VENV)/.dev ## run the tests (ARGS="-k log" selects)
	$(VENV)/bin/pytest -n 2 $(ARGS)

test-all: $(VENV)/.dev ## run the slow tests too
	$(VENV)/bin/pytest -n 2 -m 'slow or not slow' $(ARGS)

fuzz-study: $(VENV)/.dev ## 100,000 damaged files for each reader of marl study and of graphs (ARGS="5000 m.csv" is less)
	$(VENV)/bin/python -m tests.marl.study.data.fuzz $(or $(ARGS),100000)

check: $(VENV)/.dev ## lint, format, types, and the layers of the packages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy examples/*.py
	$(VENV)/bin/lint-imports

anchors: $(VENV)/.train ## write docs/anchors.md: known scores beside what is scored in play
	$(VENV)/bin/marl arenas --measure > docs/anchors.part
	mv docs/anchors.part docs/anchors.md

models: $(VENV)/.dev ## compare every causal LM of transformers with its own forward pass, then write docs/model-table.md
	$(VENV)/bin/python -m tests.marl.models.differential.table > docs/model-table.part
	mv docs/model-table.part docs/model-table.md

screenshot: $(VENV)/.dev ## the page of a study as pictures in docs/ (ARGS="runs/NAME/study.html docs/NAME.png")
	$(VENV)/bin/python benchmarks/screenshot.py $(or $(ARGS),runs/population/study.html docs/study.png --pixels 1700)

finding: $(VENV)/.dev ## what noise, prices and topology do to a language: 35 runs, then docs/findings.md
	$(VENV)/bin/marl sweep benchmarks/language.toml out=runs/language $(ARGS)
	$(VENV)/bin/python benchmarks/language.py runs/language

bench: $(VENV)/.dev $(BENCH_VENV)/.bench ## run every benchmark; each prints JSON lines (faults.py wants ten minutes)
	@set -e; for file in $(filter-out $(addprefix benchmarks/,bus.py exports.py language.py llm_foreign.py llm_peers.py llm_task.py lockstep.py paired.py peers.py screenshot.py),$(sort $(wildcard benchmarks/*.py))); do \
		echo "$$file"; $(VENV)/bin/python $$file; done
	@echo benchmarks/bus.py; $(BENCH_VENV)/bin/python benchmarks/bus.py

bench-peers: $(VENV)/.dev $(PEERS_VENV)/.peers ## training beside CoMLRL and TRL: tokens a second, seconds to a return
	$(VENV)/bin/python benchmarks/peers.py --peers $(PEERS_VENV)/bin/python $(ARGS)

bench-llm-peers: $(VENV)/.dev $(PEERS_VENV)/.engines ## a pretrained model beside llama.cpp, openvino-genai, TRL and CoMLRL
	$(VENV)/bin/python benchmarks/llm_peers.py --peers $(PEERS_VENV)/bin/python $(ARGS)

bench-learning: $(VENV)/.dev ## critic x credit on six tasks, ten seeds: about an hour on two cores (ARGS="--seeds 3" is shorter)
	$(VENV)/bin/marl sweep benchmarks/learning.toml out=runs/learning $(ARGS)

bench-slice: $(VENV)/.dev ## two minutes of it: every algorithm on every task, two updates each
	$(VENV)/bin/marl sweep benchmarks/learning.toml out=runs/slice --seeds 1 updates=2 episodes=16

# Environments. A stamp file says that what it names is installed; it is older than these files only when they changed.

$(VENV)/bin/pip $(BENCH_VENV)/bin/pip $(PEERS_VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sabir needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(@D:/bin=) || \
		{ rm -rf $(@D:/bin=); echo "$(PYTHON) cannot make a virtual environment: install its venv package"; exit 1; }

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing sabir[lm,report] into $(VENV)"
	@$(INSTALL) '.[lm,report]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing sabir[lm,report,parquet,mqtt,mpe2,classic,openspiel,textarena,tools,hf,dev] into $(VENV)"
	@$(INSTALL) '.[lm,report,parquet,mqtt,mpe2,classic,openspiel,textarena,tools,hf,dev]'
	@touch $@ $(VENV)/.train

# autogen-core, which benchmarks/bus.py compares with, needs an older protobuf than tensorboard does.
$(BENCH_VENV)/.bench: pyproject.toml constraints.txt | $(BENCH_VENV)/bin/pip
	@echo "installing sabir[bench] into $(BENCH_VENV)"
	@grep -v '^protobuf==' constraints.txt > $(BENCH_VENV)/constraints.txt
	@$(BENCH_VENV)/bin/python -m pip install --quiet -c $(BENCH_VENV)/constraints.txt protobuf==5.29.6 -e '.[bench]'
	@touch $@

# What benchmarks/peers.py compares with. CoMLRL's own requirements would bring in what it does not need here.
$(PEERS_VENV)/.peers: benchmarks/peers.txt | $(PEERS_VENV)/bin/pip
	@echo "installing CoMLRL and TRL into $(PEERS_VENV)"
	@$(PEERS_VENV)/bin/python -m pip install --quiet -r benchmarks/peers.txt
	@$(PEERS_VENV)/bin/python -m pip install --quiet --no-deps comlrl==1.4.3
	@touch $@

# llama.cpp is compiled here, in ten minutes or so on one core.
$(PEERS_VENV)/.engines: $(PEERS_VENV)/.peers
	@echo "installing openvino-genai and llama-cpp-python into $(PEERS_VENV)"
	@$(PEERS_VENV)/bin/python -m pip install --quiet openvino-genai==2026.4.1.0
	@CMAKE_BUILD_PARALLEL_LEVEL=1 CMAKE_ARGS=-DLLAVA_BUILD=OFF \
		$(PEERS_VENV)/bin/python -m pip install --quiet llama-cpp-python==0.3.36
	@touch $@
