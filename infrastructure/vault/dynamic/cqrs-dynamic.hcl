# An application that uses its own short-lived logins: issue one, renew it, revoke it. Nothing else.
path "database/creds/cqrs-app" {
  capabilities = ["read"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/leases/revoke" {
  capabilities = ["update"]
}
