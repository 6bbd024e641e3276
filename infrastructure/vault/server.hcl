# The local Vault of one developer's machine; bootstrap --secrets vault fills in the :{…} and starts it.
#
# It is a real server whose data survive a restart, but not one to protect production secrets: the key that unseals it
# lies in a file beside the data (mode 0600), it listens without TLS (on the loopback alone), and memory is not locked.
storage "raft" {
  path    = ":{data}"
  node_id = "local"
  # A node that is alone has nobody to wait for when it becomes the leader.
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
