# An application: reads its own credentials, and nothing else. Both paths hold the same login; they differ in the
# address, as programs beside the server and programs on the host reach it by different names.
path "secret/data/cqrs-spike/database" {
  capabilities = ["read"]
}
path "secret/data/cqrs-spike/database-local" {
  capabilities = ["read"]
}

# What clients do with their own token: look when it ends, renew it, give it back.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
