#!/bin/sh
# Runs Vault (or OpenBao) and makes it usable at every start: initialised, unsealed, set up for the stack.
#
# Reads and writes /keys: vault/unseal-key, and for the init container init/cqrs-init.role-id and .secret-id.
# A root token exists only during the set-up: at first that of the initialisation, later one created from the unseal
# key. It is revoked afterwards. No secret is printed or passed as a command-line argument.
set -eu
umask 027

key=/keys/vault/unseal-key
begun=/keys/vault/init-begun
ready=/tmp/ready
vault=$(command -v vault || command -v bao)
export VAULT_ADDR=http://127.0.0.1:8200 BAO_ADDR=http://127.0.0.1:8200

say() { echo "cqrs: $*" >&2; }

# Prints the first string value with this name in the JSON on stdin.
field() { tr -d ' \n' | sed -n "s/.*\"$1\":\[\{0,1\}\"\([^\"]*\)\".*/\1/p"; }

# Writes stdin to a file atomically, without a trailing newline: Vault takes a file's content literally.
store() { printf %s "$(cat)" >"$1.tmp" && sync && mv "$1.tmp" "$1"; }

await_server() {
  while :; do
    status=0
    "$vault" status >/dev/null 2>&1 || status=$?
    [ "$status" = 1 ] || return 0
    kill -0 "$server" 2>/dev/null || { say "the server has exited; see its last lines above"; return 1; }
    sleep 0.1
  done
}

initialise() {
  status=0
  "$vault" operator init -status >/dev/null 2>&1 || status=$?
  if [ "$status" = 2 ]; then
    touch "$begun"
    answer=$("$vault" operator init -key-shares=1 -key-threshold=1 -format=json)
    printf %s "$answer" | field unseal_keys_b64 | store "$key"
    VAULT_TOKEN=$(printf %s "$answer" | field root_token)
    rm -f "$begun"
    say "initialised Vault"
  elif [ -e "$begun" ]; then
    # Interrupted before the key was stored: nobody can ever read this data, so nothing is lost.
    rm -rf /vault/file/* && rm -f "$begun"
    say "an initialisation was interrupted; starting again"
    return 1
  elif [ ! -s "$key" ]; then
    say "error: the keys volume does not contain the key that unseals Vault's volume"
    say "  why: the keys volume was removed, and Vault's volume was kept"
    say "  fix: Restore the keys volume, or discard Vault's content: docker compose -p <project> down; docker volume rm <project>-vault-data"
    return 1
  fi
}

unseal() {
  [ -s "$key" ] || return 1
  "$vault" write sys/unseal key=@"$key" >/dev/null
  # With raft storage, a server becomes active shortly after it is unsealed.
  until "$vault" read sys/health >/dev/null 2>&1 && [ "$("$vault" read -field=standby sys/health 2>/dev/null)" = false ]; do
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.1
  done
}

# Prints a root token.
generate_root() {
  "$vault" delete sys/generate-root/attempt >/dev/null
  attempt=$("$vault" write -f -format=json sys/generate-root/attempt)
  otp=$(printf %s "$attempt" | field otp)
  nonce=$(printf %s "$attempt" | field nonce)
  encoded=$("$vault" write -field=encoded_token sys/generate-root/update key=@"$key" nonce="$nonce")
  "$vault" operator generate-root -decode="$encoded" -otp="$otp"
}

# Must match scripts/lib/secrets/vault/setup.ts, which `secrets init` uses.
set_up() {
  "$vault" read sys/mounts/secret >/dev/null 2>&1 || "$vault" secrets enable -path=secret -version=2 kv >/dev/null
  "$vault" read sys/auth/approle >/dev/null 2>&1 || "$vault" auth enable approle >/dev/null
  for file in /vault/policies/*.hcl; do
    "$vault" write "sys/policies/acl/$(basename "$file" .hcl)" policy=@"$file" >/dev/null
  done
  role cqrs-init 20m 1h
  role cqrs-app 1h 24h
  # A stolen token ends here at the latest; clients whose token is revoked log in again.
  "$vault" write -f sys/leases/revoke-prefix/auth/approle/login >/dev/null
  "$vault" read -field=role_id auth/approle/role/cqrs-init/role-id | store /keys/init/cqrs-init.role-id
  "$vault" write -f -field=secret_id auth/approle/role/cqrs-init/secret-id | store /keys/init/cqrs-init.secret-id
}

role() {
  "$vault" write "auth/approle/role/$1" bind_secret_id=true secret_id_num_uses=0 secret_id_ttl=720h \
    token_policies="$1" token_no_default_policy=true token_ttl="$2" token_max_ttl="$3" >/dev/null
}

make_usable() {
  VAULT_TOKEN=
  await_server && initialise && unseal || return 1
  [ -n "$VAULT_TOKEN" ] || VAULT_TOKEN=$(generate_root)
  export VAULT_TOKEN
  done=0
  set_up || done=1
  "$vault" token revoke -self >/dev/null
  unset VAULT_TOKEN
  return "$done"
}

rm -f "$ready"
"$vault" server -config=/vault/config/compose.hcl &
server=$!
trap 'kill -TERM "$server" 2>/dev/null' TERM INT
if make_usable; then
  say "Vault is usable"
  touch "$ready"
else
  say "Vault could not be made usable"
  kill -TERM "$server" 2>/dev/null || true
fi
# A signal interrupts `wait` before the server has exited, so wait again.
status=0
while kill -0 "$server" 2>/dev/null; do
  status=0
  wait "$server" || status=$?
done
[ -e "$ready" ] || exit 1
exit "$status"
