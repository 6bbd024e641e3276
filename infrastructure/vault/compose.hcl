# Vault of the compose stack: one server, its data in a volume. OpenBao reads the same file.
storage "raft" {
  path    = "/vault/file"
  node_id = "cqrs-vault"
  # Elections among one server need no patience.
  performance_multiplier = 1
}

# The network of the stack and the loopback of the host are all that gets here.
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
