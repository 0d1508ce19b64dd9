#!/usr/bin/env bash
# Passes the tests on a bare machine: format, lint, types, tests.
#   bash launch/check.sh                all of it
#   bash launch/check.sh -m slow        other arguments go to pytest
# It makes its own virtual environment, unless one is active.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${VIRTUAL_ENV:-}" ]; then
  venv=.venv
  python=$(command -v python3.12 || command -v python3.11 || command -v python3)
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  export PATH="$PWD/$venv/bin:$PATH" VIRTUAL_ENV="$PWD/$venv"
fi
python -m pip install --quiet --editable '.[test]'

ruff format --check .
ruff check .
basedpyright --pythonpath "$(command -v python)" --level error
exec python -m pytest -n "${UNIREP_TEST_WORKERS:-2}" "$@"
