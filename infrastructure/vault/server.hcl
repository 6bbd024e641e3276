# The local Vault of a developer's machine. `bootstrap --secrets vault` fills in the :{…} and starts it.
#
# It is a real server, and its data survives a restart, but it must not be used for production secrets: its unseal key
# is in a file next to the data (mode 0600), it listens without TLS (on the loopback only), and memory is not locked.
storage "raft" {
  path    = ":{data}"
  node_id = "local"
  # A single server need not wait for an election.
  performance_multiplier = 1
}

listener "tcp" {
  address         = "127.0.0.1::{port}"
  cluster_address = "127.0.0.1::{cluster_port}"
  tls_disable     = true
}

api_addr     = "http://127.0.0.1::{port}"
cluster_addr = "https://127.0.0.1::{cluster_port}"

pid_file      = ":{pid_file}"
disable_mlock = true
ui            = false
