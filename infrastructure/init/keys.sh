#!/bin/sh
# Creates what the other containers need when they start: the superuser's password, and folders that only their users
# can read. Refuses the volumes of another folder, and a data volume of another major version. Idempotent. Runs as root,
# without network. `keys.sh check` only looks whose volumes they are.
set -eu
umask 077

# The volumes and the folder that they were made from have the same id: compose gives a second clone the same names.
volume_id=/keys/stack-id folder_id=/backups/.stack-id
if [ -s "$volume_id" ] && ! cmp -s "$volume_id" "$folder_id"; then
  if [ "${CQRS_TAKE_OVER:-}" != yes ]; then
    echo "error: the volumes of the compose project $COMPOSE_PROJECT_NAME belong to another folder" >&2
    echo "  why: $BACKUPS/.stack-id is not that of the volumes, which another clone has made, or it was deleted" >&2
    echo "  fix: For a database of its own, set COMPOSE_PROJECT_NAME, POSTGRES_PORT and VAULT_PORT in .env. To use that of the volumes here, run docker compose run --rm -e CQRS_TAKE_OVER=yes keys" >&2
    exit 8
  fi
  # Another id, so that the folder that they belonged to is refused from now on.
  head -c 512 /dev/urandom | LC_ALL=C tr -dc a-z0-9 | cut -c 1-32 >"$folder_id"
  cat "$folder_id" >"$volume_id"
fi
[ "${1:-}" != check ] || exit 0

# This container runs the server's image, so it can report an incompatible volume before the server fails and restarts
# forever.
image=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
volume=$(cat /var/lib/postgresql/data/PG_VERSION 2>/dev/null || echo "$image")
if [ "$volume" != "$image" ]; then
  echo "error: the data volume was made by PostgreSQL $volume, and the image is PostgreSQL $image" >&2
  echo "  fix: Set POSTGRES_IMAGE=postgres:$volume-alpine. To upgrade, back up with that image, destroy, and restore with PostgreSQL $image." >&2
  exit 9
fi

# Arguments: folder, owner, mode. Applied at every start, so that changed ids take effect.
folder() {
  mkdir -p "$1"
  chown "$2" "$1"
  chmod "$3" "$1"
}

vault_user=100
folder /keys root:root 0755
folder /keys/postgres "$CQRS_UID:$CQRS_GID" 0500
folder /keys/vault "$vault_user:$vault_user" 0700
# Vault writes, init reads: setgid gives new files the folder's group.
folder /keys/init "$vault_user:$CQRS_GID" 2750
folder /vault "$vault_user:$vault_user" 0700
folder /credentials "$CQRS_UID:$CQRS_GID" 0700
chown -R "$vault_user" /keys/vault /vault
chown -R "$vault_user:$CQRS_GID" /keys/init

password=/keys/postgres/password
if [ ! -s "$password" ]; then
  # 32 letters and digits. 512 random bytes contain fewer with a probability below 10^-27.
  characters=$(head -c 512 /dev/urandom | LC_ALL=C tr -dc A-Za-z0-9 | cut -c 1-32)
  [ "${#characters}" = 32 ]
  printf %s "$characters" >"$password.tmp"
  mv "$password.tmp" "$password"
  echo "created the superuser's password"
fi
chown "$CQRS_UID:$CQRS_GID" "$password"
chmod 0400 "$password"

# Docker creates a missing folder of a bind mount as root.
if [ "$(stat -c %u /backups)" = 0 ]; then chown "$CQRS_UID:$CQRS_GID" /backups; fi
writable="( -perm -0002 -o -user $CQRS_UID -perm -0200 -o -group $CQRS_GID -perm -0020 )"
if [ -z "$(find /backups -maxdepth 0 $writable)" ]; then
  echo "error: permission denied: uid $CQRS_UID cannot write to $BACKUPS ($(stat -c 'uid %u, mode %a' /backups))" >&2
  echo "  fix: Run chown or chmod on that folder, or set CQRS_UID and CQRS_GID to its owner." >&2
  exit 9
fi

[ -s "$folder_id" ] || head -c 512 /dev/urandom | LC_ALL=C tr -dc a-z0-9 | cut -c 1-32 >"$folder_id"
chown "$CQRS_UID:$CQRS_GID" "$folder_id"
[ -s "$volume_id" ] || cat "$folder_id" >"$volume_id"
