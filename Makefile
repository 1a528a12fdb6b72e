# Every target sets up what it needs: Python 3.11 to 3.13 and make, and for Kafka a Java 17 and Maven.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test check bench format clean
.DEFAULT_GOAL := check

setup: .venv/.ready

.venv/.ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 14) and "needs Python 3.11 to 3.13, this is %d.%d; name another with PYTHON=" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
