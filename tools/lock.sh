#!/bin/sh
# Write both lock files anew from pyproject.toml: hashes, all platforms, Python 3.11 and up. Needs uv.
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml "$@"; }
lock --output-file requirements.lock
lock --extra dev --output-file requirements-dev.lock
