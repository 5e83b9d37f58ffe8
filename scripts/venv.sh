#!/bin/sh
# Makes .venv/ with this package in it; with the argument "dev", its developers' tools, too.
# Does nothing when that is there already and pyproject.toml has not changed since.
set -eu
cd "$(dirname "$0")/.."

extras=${1:-}
venv=.venv
stamp=$venv/.installed
# What was installed from: these settings, in this folder (a virtual environment cannot be moved).
sum="$(cksum <pyproject.toml) $(pwd)"

usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if usable "$python"; then
            echo "$python"
            return
        fi
    done
    echo "Python 3.11 or newer was not found${PYTHON:+ as $PYTHON}." >&2
    echo "Install it (Debian, Ubuntu: apt install python3 python3-venv), or say where it is: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
}

if ! usable $venv/bin/python || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Creating $venv/ with $("$python" --version) ..."
    rm -rf $venv
    if ! "$python" -m venv $venv; then
        echo "$python cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2
        exit 1
    fi
fi

if grep -qsxF -e "$sum dev" $stamp || { [ -z "$extras" ] && grep -qsxF -e "$sum package" $stamp; }; then
    exit 0
fi
echo "Installing the package${extras:+ with what its tests need} into $venv/ ..."
rm -f $stamp
$venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
echo "$sum ${extras:-package}" >$stamp
