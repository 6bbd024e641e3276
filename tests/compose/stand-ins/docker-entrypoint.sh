#!/bin/bash
# Implements the documented contract of the official PostgreSQL image, as far as a stack depends on it:
# POSTGRES_PASSWORD(_FILE), POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA; root drops to postgres; the first
# start runs /docker-entrypoint-initdb.d on a temporary server that listens only on its socket.
set -Eeuo pipefail

[[ "${1:-}" != -* ]] || set -- postgres "$@"
[ "${1:-}" = postgres ] || exec "$@"

if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
  POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
  export POSTGRES_PASSWORD
  unset POSTGRES_PASSWORD_FILE
fi
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA" || :
  chmod 03775 /var/run/postgresql || :
  find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
  exec gosu postgres "$0" "$@"
fi

if [ -s "$PGDATA/PG_VERSION" ]; then
  printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
  exec "$@"
fi

[ -n "${POSTGRES_PASSWORD:-}" ] || { echo "Error: Database is uninitialized and superuser password is not specified." >&2; exit 1; }
eval 'initdb --username="$user" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' "${POSTGRES_INITDB_ARGS:-}"
printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"

pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432 -k /var/run/postgresql" -w start
query() { psql -v ON_ERROR_STOP=1 --no-psqlrc -h /var/run/postgresql -U "$user" "$@"; }
[ "$database" = postgres ] || query -d postgres -v name="$database" <<<'create database :"name";'
for file in /docker-entrypoint-initdb.d/*; do
  case $file in
    *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
    *.sql) query -d "$database" -f "$file" ;;
  esac
done
pg_ctl -D "$PGDATA" -m fast -w stop
unset PGPASSWORD
printf '\nPostgreSQL init process complete; ready for start up.\n\n'
exec "$@"
