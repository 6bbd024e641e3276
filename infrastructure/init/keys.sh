#!/bin/sh
# Makes what the other containers must find when they start: the superuser's password, and folders that only those who
# need them can read. Safe to run again: what is there is left. Runs as root, without network.
set -eu
umask 077

# Folder, owner, mode; named again each time, so that changed ids are followed.
folder() {
  mkdir -p "$1"
  chown "$2" "$1"
  chmod "$3" "$1"
}

vault_user=100
folder /keys root:root 0755
folder /keys/postgres "$CQRS_UID:$CQRS_GID" 0500
folder /keys/vault "$vault_user:$vault_user" 0700
# Vault writes, init reads: new files get the folder's group.
folder /keys/init "$vault_user:$CQRS_GID" 2750
folder /vault "$vault_user:$vault_user" 0700
folder /credentials "$CQRS_UID:$CQRS_GID" 0700
chown -R "$vault_user" /keys/vault /vault
chown -R "$vault_user:$CQRS_GID" /keys/init

password=/keys/postgres/password
if [ ! -s "$password" ]; then
  # 32 letters and digits; 256 random bytes have enough of them but once in 10^13 times.
  characters=$(head -c 512 /dev/urandom | LC_ALL=C tr -dc A-Za-z0-9 | cut -c 1-32)
  [ "${#characters}" = 32 ]
  printf %s "$characters" >"$password.tmp"
  mv "$password.tmp" "$password"
  echo "made the superuser's password"
fi
chown "$CQRS_UID:$CQRS_GID" "$password"
chmod 0400 "$password"

# Docker makes the folder of a bind mount as root where there is none.
if [ "$(stat -c %u /backups)" = 0 ]; then chown "$CQRS_UID:$CQRS_GID" /backups; fi
