# Later runs of bootstrap and of the secrets commands: write our secrets, deliver secret ids, check the set-up.
# It cannot write policies or AppRoles, since with those it could grant itself everything (decision 0007). Changing the
# set-up needs an administrator's token; for the local Vault, a temporary one is created from the unseal key.
path "secret/data/cqrs-spike/*" {
  capabilities = ["create", "read", "update"]
}
path "secret/metadata/cqrs-spike/*" {
  capabilities = ["create", "read", "update"]
}

path "sys/mounts/secret" {
  capabilities = ["read"]
}
# Vault requires sudo to read the mount of an auth method.
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
# Revokes a secret id that was delivered but never received.
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
