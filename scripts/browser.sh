#!/bin/sh
# Usage: scripts/browser.sh PYTHON
# Makes sure that the browser tests have a Chromium: an installed one, Debian's, or Playwright's own build.
set -eu

python=$1

# Ubuntu's chromium-browser may be a stub that only asks for a snap: a browser counts once it runs.
runs() {
    [ -n "$1" ] && command -v "$1" >/dev/null 2>&1 && "$1" --version >/dev/null 2>&1
}

playwright_chromium() {
    "$python" - <<'PY' 2>/dev/null || true
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)
PY
}

found() {
    for candidate in "${CHROMIUM:-}" chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
        runs "$candidate" && return 0
    done
    runs "$(playwright_chromium)"
}

has_chinese_font() {
    command -v fc-list >/dev/null 2>&1 && [ -n "$(fc-list :lang=zh-tw family 2>/dev/null)" ]
}

here=$(dirname "$0")
if ! found; then
    echo "No Chromium found: installing one for the browser tests"
    # The one without windows needs two thirds of the processor time; Debian has it, others may not.
    "$here/apt.sh" chromium-headless-shell fonts-noto-cjk fontconfig ||
        "$here/apt.sh" chromium fonts-noto-cjk fontconfig || true
    found || "$python" -m playwright install chromium || true
    if ! found; then
        echo "The browser tests need Chromium, and none could be installed." >&2
        echo "Install chromium or google-chrome, or name one: make test CHROMIUM=/path/to/chromium" >&2
        exit 1
    fi
fi
if ! has_chinese_font; then
    "$here/apt.sh" fonts-noto-cjk fontconfig || echo "Note: no Chinese font found; screenshots will show boxes for it."
fi
