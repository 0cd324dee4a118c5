# A client: for `drover agent` and `drover-edge agent` alike.
# It joins with a token: `drover node join-token create` on a server, here in a file with mode 0600.

name       = "client-1"
data_dir   = "/var/lib/drover"
datacenter = "dc1"

client {
  enabled         = true
  servers         = ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
  join_token_file = "/etc/drover.d/join-token"
}

# Off unless it is asked for, as tasks of this driver run as the agent's user on the bare machine.
plugin "raw_exec" {
  config {
    enabled = true
  }
}
