#!/usr/bin/env bash
# Builds HashiCorp Vault with its PostgreSQL plugin, once, for the tests; prints their folder.
#
# Reads: CQRS_TEST_CACHE (default: cqrs-postgres in the user's cache folder), PATH or /usr/local/go/bin for `go`.
# Writes: <cache>/vault-<version>/, complete or not at all. Progress goes to stderr.
# Exits: 0 with the folder on stdout; 9 if there is no Go that can build it; otherwise with Go's exit code.
set -euo pipefail

version=1.21.1
module=github.com/hashicorp/vault
module_hash='h1:4bYxh55jSitPOs5+iPshEdDhBLeXCm6BjGDIV1vYzys='
plugin=plugins/database/postgresql/postgresql-database-plugin
cache=${CQRS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cqrs-postgres}
target=$cache/vault-$version

say() { echo "build-vault: $*" >&2; }

build() {
  local work=$1
  # Only these settings decide what is fetched: the module graph pins versions, the checksum database contents.
  export GOMODCACHE=$work/modules GOCACHE=$work/objects GOPATH=$work/path GOTMPDIR=$work/tmp GOENV=off GOWORK=off
  export GOSUMDB=sum.golang.org GONOSUMDB='' GOPRIVATE='' GOINSECURE='' GOFLAGS='-mod=mod -modcacherw -buildvcs=false'
  export GOTOOLCHAIN=auto CGO_ENABLED=0
  mkdir -p "$work/module" "$work/tmp" "$work/result/plugins"
  cd "$work/module"
  go mod init cqrs-test-vault >&2
  say "fetching $module $version"
  go get -tool "$module@v$version" >&2
  grep -qxF "$module v$version $module_hash" go.sum || { say "the checksum of $module differs: $(grep "$module v$version " go.sum)"; return 1; }
  say 'compiling, which takes 5 to 10 minutes on two cores'
  go build -tags minimal -trimpath -ldflags '-s -w' -o "$work/result/vault" "$module" >&2
  go build -tags minimal -trimpath -ldflags '-s -w' -o "$work/result/plugins/" "$module/$plugin" >&2
}

# Since 1.21, Go itself fetches the newer toolchain that Vault requires, verified by the same checksum database.
require_go() {
  command -v go >/dev/null || { say 'there is no go on the PATH or in /usr/local/go/bin'; exit 9; }
  local minor
  minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [ "${minor:-0}" -ge 21 ] || { say "$(go version) is too old: Vault $version needs Go 1.21 or newer"; exit 9; }
}

main() {
  export PATH=$PATH:/usr/local/go/bin
  mkdir -p "$cache"
  # A second build waits for the first. Without flock both build, and the first rename wins.
  if command -v flock >/dev/null; then
    exec 9>"$cache/vault-$version.lock"
    flock -n 9 || { say 'waiting for another build'; flock 9; }
  fi
  if [ ! -x "$target/vault" ]; then
    require_go
    work=$(mktemp -d "$cache/.build-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (build "$work" 9>&-)
    [ -d "$target" ] || mv "$work/result" "$target"
  fi
  echo "$target"
}

main
