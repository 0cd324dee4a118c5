# Two services in a mesh: the dashboard reaches the API through proxies beside both, which Consul sets up. Nodes need
# Consul, Docker and the CNI plugins.

job "countdash" {
  group "api" {
    # A network of its own for the group: only the proxy can be reached from outside.
    network {
      mode = "bridge"
    }

    service {
      name = "count-api"
      port = "9001"

      # A proxy stands before this service.
      connect {
        sidecar_service {}
      }
    }

    task "web" {
      driver = "docker"

      config {
        image = "hashicorpdev/counter-api:v3"
      }
    }
  }

  group "dashboard" {
    network {
      mode = "bridge"

      # The dashboard itself is for people: it has a port of the node.
      port "http" {
        static = 9002
        to     = 9002
      }
    }

    service {
      name = "count-dashboard"
      port = "http"

      connect {
        sidecar_service {
          proxy {
            # The API is at this port of the group's own network.
            upstreams {
              destination_name = "count-api"
              local_bind_port  = 8080
            }
          }
        }
      }
    }

    task "dashboard" {
      driver = "docker"

      env {
        COUNTING_SERVICE_URL = "http://${NOMAD_UPSTREAM_ADDR_count_api}"
      }

      config {
        image = "hashicorpdev/counter-dashboard:v3"
      }
    }
  }
}
