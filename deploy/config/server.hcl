# One of three servers. Each has a file like this with its own name; addresses are examples.
# Where a region is made for the first time: `drover server join-token create` on the first server,
# and its token in DROVER_JOIN_TOKEN or join_token_file on the other two. On one host none is needed.

name       = "server-1"
data_dir   = "/var/lib/drover"
datacenter = "dc1"
bind_addr  = "10.0.0.11"

addresses {
  # HTTP stays on loopback: on another address it needs `tls { http = true }` with files of your own.
  http = "127.0.0.1"
}

server {
  enabled          = true
  bootstrap_expect = 3

  server_join {
    retry_join = ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
  }
}
