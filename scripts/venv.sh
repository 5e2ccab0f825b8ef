#!/bin/sh
# Usage: scripts/venv.sh DIRECTORY
# Creates a virtual environment with $PYTHON, or with the first suitable Python of this machine.
# Where Debian's Python comes without its venv module, and apt-get may be used, installs that.
set -eu

directory=$1
suitable='import sys; sys.exit(not (3, 11) <= sys.version_info[:2])'

suits() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c "$suitable" >/dev/null 2>&1
}

python=
for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 python; do
    if suits "$candidate"; then
        python=$candidate
        break
    fi
    [ "$candidate" != "${PYTHON:-}" ] || break # the one that was asked for, or none
done
if [ -z "$python" ]; then
    echo "cfviz needs Python 3.11 or newer, and found $("${PYTHON:-python3}" --version 2>/dev/null || echo none)." >&2
    echo "Install one (python.org, your package manager, pyenv) or name it: make run PYTHON=/path/to/python3.12" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    echo "$python lacks the venv module: installing $version-venv"
    if ! "$(dirname "$0")/apt.sh" "$version-venv"; then
        echo "Install the package $version-venv (or python3-venv) as an administrator, then try again." >&2
        exit 1
    fi
fi

echo "Creating $directory with $("$python" --version)"
trap 'rm -rf "$directory"' INT TERM
"$python" -m venv --clear "$directory" || { rm -rf "$directory"; exit 1; }
