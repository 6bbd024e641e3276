# Vault of the containers: one server, its data in a volume. Also valid for OpenBao.
storage "raft" {
  path    = "/vault/file"
  node_id = "cqrs-vault"
  # A single server need not wait for an election.
  performance_multiplier = 1
}

# Reachable only from the stack's network and the host's loopback.
listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "127.0.0.1:8201"
  tls_disable     = true
}

api_addr      = "http://vault:8200"
cluster_addr  = "https://127.0.0.1:8201"
disable_mlock = true
ui            = true
log_level     = "warn"
