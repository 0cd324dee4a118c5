# A parameterized job: it waits to be launched, each time with other values.
#
#   drover job dispatch -meta name=you example

job "example" {
  type = "batch"

  parameterized {
    # What a launch must bring, and what it may bring.
    meta_required = ["name"]
    meta_optional = ["greeting"]
  }

  meta {
    greeting = "hello"
  }

  group "greet" {
    task "greet" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo $NOMAD_META_greeting $NOMAD_META_name"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
