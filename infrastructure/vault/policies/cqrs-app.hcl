# An application: reads its own credentials and nothing else. Both paths hold the same login. They differ in the
# address: one for programs next to the server, one for programs on the host.
path "secret/data/cqrs-spike/database" {
  capabilities = ["read"]
}
path "secret/data/cqrs-spike/database-local" {
  capabilities = ["read"]
}

# A client's own token: look up its expiry, renew it, revoke it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
