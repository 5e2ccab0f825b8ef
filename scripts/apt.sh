#!/bin/sh
# Usage: scripts/apt.sh PACKAGE...
# Installs Debian packages as root or through a sudo that asks for no password; fails where neither works.
set -eu

command -v apt-get >/dev/null 2>&1 || exit 1
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    exit 1
fi

install() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# The package lists of a fresh machine are empty or old: fetch them only when they are needed.
install "$@" >/dev/null 2>&1 || { $sudo apt-get update -q >/dev/null && install "$@" >/dev/null; }
