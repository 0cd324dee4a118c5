# Server and client in one agent on one machine, kept in a data directory: no keys and no tokens.

data_dir  = "/var/lib/drover"
bind_addr = "127.0.0.1"

server {
  enabled          = true
  bootstrap_expect = 1
}

client {
  enabled = true
}
