# An application that gets logins of its own: issues one, renews it, gives it back. Nothing else.
path "database/creds/cqrs-app" {
  capabilities = ["read"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/revoke" {
  capabilities = ["update"]
}
