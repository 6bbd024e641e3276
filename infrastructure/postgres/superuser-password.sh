#!/bin/sh
# Sets the superuser's password to the one in the keys volume, for a data volume that is older than the keys.
# Runs in PostgreSQL's container, whose image trusts the loopback:
#   docker compose exec postgres sh /superuser-password.sh
set -eu
psql -h 127.0.0.1 -U postgres -d postgres -v ON_ERROR_STOP=1 -XAtq <<END
set log_statement = 'none';
set log_min_duration_statement = -1;
alter role postgres password '$(cat /keys/postgres/password)';
END
echo "set the superuser's password to the one in the keys volume"
