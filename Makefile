# Every target sets up what it needs: Python 3.11 to 3.13 and make, and for Kafka a Java 17 and Maven.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test check bench faults format clean
.DEFAULT_GOAL := check

setup: .venv/.ready

.venv/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 14) and "needs Python 3.11 to 3.13, this is %d.%d; name another with PYTHON=" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The whole system on this machine; with KAFKA=1 on an Apache Kafka that is fetched and started for the run.
run: setup
	$(BIN)/ingest dev $(if $(KAFKA),--kafka)

# All tests. Those on a service that is missing, as Kafka without Java, are skipped, loudly; with CI=true they fail.
test: setup
	$(BIN)/pytest

# Everything that needs no service: format, lint, types, import contracts, settings that nobody reads.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/ingest/test_settings.py tests/test_style.py tests/test_docs.py

# The tables of what an event, a row and a conversion cost, as text and under bench/out/. Takes about eight minutes.
bench: setup
	$(BIN)/python -m bench
	$(BIN)/python -m bench.consumers
	$(BIN)/python -m bench.forward

# Every fault under load on real services: is what was acknowledged still there? Takes a quarter of an hour, and root.
faults: setup
	$(BIN)/python -m tests.faults

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .cache var bench/out .mypy_cache .ruff_cache
