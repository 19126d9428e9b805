# make first        AIME learns from what is part of the package (2 CPU cores, two minutes)
# make demo         watch a robot imitate what it has only seen (2 CPU cores, minutes)
# make demo-walker  the harder one (at most 90 minutes)
# make demo-online  AIME, AIME-v2 and its ablations on a Meta-World task, online
# make test         all tests
# make docs         the documentation, into site/ (opens offline); warnings are errors
# make notebooks    run the notebooks of the documentation again and keep their outputs (minutes)
# make test-slurm   sweeps on a real Slurm of one node (as root; installs Debian's packages), minutes
# make doctor       what this machine can do, and what is missing
# make clean-runs   delete runs/
# Each makes the virtual environment .venv first; it is installed again only when its requirements change.

SHELL := bash
VENV ?= .venv
PY := $(VENV)/bin/python
RUN := $(PY) -u -m
REQUIREMENTS := setup.py constraints.txt pyproject.toml

# glibc keeps memory in huge pages: a training update on the CPU takes up to a sixth less time.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: first demo demo-walker demo-online test test-slurm docs notebooks doctor lint clean-runs

first: $(VENV)/.installed-run
	$(RUN) experiments demo --config=demo:first --workdir=runs/first

demo: $(VENV)/.installed-run
	@$(RUN) experiments doctor --brief
	$(RUN) experiments demo --config=demo --workdir=runs/demo

demo-walker: $(VENV)/.installed-run
	@$(RUN) experiments doctor --brief
	$(RUN) experiments demo --config=demo:walker --workdir=runs/demo-walker

demo-online: $(VENV)/.installed-metaworld
	@$(RUN) experiments doctor --brief
	$(RUN) experiments demo_online --config=demo_online --workdir=runs/demo-online

test: $(VENV)/.installed-test
	@$(RUN) experiments doctor --brief
	$(RUN) pytest tests -q -n 2 --dist loadfile  # a file stays together: its tests share trained runs

test-slurm: $(VENV)/.installed-test
	PYTHONPATH=.:tests:tests/slurm $(PY) -u tests/slurm/check_slurm.py

# Not with --quiet: it hides warnings from `strict` in mkdocs.yml too.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build
	@echo "Open site/index.html"

notebooks: $(VENV)/.installed-notebook
	PYTHONPATH=. $(PY) -m nbconvert --to notebook --execute --inplace docs/notebooks/*.ipynb

doctor: $(VENV)/.installed-run
	$(RUN) experiments doctor

lint: $(VENV)/.installed-test
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

clean-runs:
	rm -rf runs

# The installation for the tests includes that for the runs.
$(VENV)/.installed-run: EXTRAS := dmc
$(VENV)/.installed-metaworld: EXTRAS := dmc,metaworld
$(VENV)/.installed-docs: EXTRAS := dmc,metaworld,docs
$(VENV)/.installed-notebook: EXTRAS := dmc,metaworld,notebook
$(VENV)/.installed-test: EXTRAS := dmc,metaworld,published,minari,lerobot,wandb,dev
$(VENV)/.installed-run $(VENV)/.installed-metaworld $(VENV)/.installed-docs $(VENV)/.installed-notebook $(VENV)/.installed-test: $(REQUIREMENTS) | $(PY)
	@echo "Installing into $(VENV): a few minutes. What pip says is in $(VENV)/install.log."
	@$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]" > $(VENV)/install.log 2>&1 \
	  || { tail -n 20 $(VENV)/install.log; echo "The installation failed; the lines above say why."; exit 1; }
	@touch $@
	@if [ "$(EXTRAS)" != dmc ]; then touch $(VENV)/.installed-run $(VENV)/.installed-metaworld; fi

$(PY):
	@.ci/make-venv $(VENV)
