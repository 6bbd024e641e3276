# Later runs of bootstrap and of the secrets scripts: write our secrets, deliver secret ids, see whether all is set up.
# It can write neither policies nor AppRoles: whoever can, can give himself everything. A set-up that has to change
# needs an administrator's token, which the local Vault's own scripts make for the moment from the unseal key.
path "secret/data/cqrs-spike/*" {
  capabilities = ["create", "read", "update"]
}
path "secret/metadata/cqrs-spike/*" {
  capabilities = ["create", "read", "update"]
}

path "sys/mounts/secret" {
  capabilities = ["read"]
}
# Vault asks for sudo to read how a login method is mounted.
path "sys/auth/approle" {
  capabilities = ["read", "sudo"]
}
path "sys/policies/acl/cqrs-init" {
  capabilities = ["read"]
}
path "sys/policies/acl/cqrs-app" {
  capabilities = ["read"]
}

path "auth/approle/role/cqrs-init" {
  capabilities = ["read"]
}
path "auth/approle/role/cqrs-init/role-id" {
  capabilities = ["read"]
}
path "auth/approle/role/cqrs-init/secret-id" {
  capabilities = ["create", "update"]
}
path "auth/approle/role/cqrs-init/secret-id/lookup" {
  capabilities = ["create", "update"]
}
path "auth/approle/role/cqrs-init/secret-id/destroy" {
  capabilities = ["create", "update"]
}

path "auth/approle/role/cqrs-app" {
  capabilities = ["read"]
}
path "auth/approle/role/cqrs-app/role-id" {
  capabilities = ["read"]
}
path "auth/approle/role/cqrs-app/secret-id" {
  capabilities = ["create", "update", "list"]
}
path "auth/approle/role/cqrs-app/secret-id/lookup" {
  capabilities = ["create", "update"]
}
path "auth/approle/role/cqrs-app/secret-id/destroy" {
  capabilities = ["create", "update"]
}
# Takes back a secret id that was delivered and never arrived.
path "auth/approle/role/cqrs-app/secret-id-accessor/lookup" {
  capabilities = ["create", "update"]
}
path "auth/approle/role/cqrs-app/secret-id-accessor/destroy" {
  capabilities = ["create", "update"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
