# A parameterized job: it waits to be launched, each time with other values.
#
#   echo hello | drover job dispatch -meta name=you example -

job "example" {
  type = "batch"

  parameterized {
    # What a launch must bring, what it may bring, and whether it brings a payload: "optional", "required", "forbidden".
    meta_required = ["name"]
    meta_optional = ["greeting"]
    payload       = "optional"
  }

  meta {
    greeting = "hello"
  }

  group "greet" {
    task "greet" {
      driver = "exec"

      # The payload is this file in the task's folder.
      dispatch_payload {
        file = "payload.txt"
      }

      config {
        command = "/bin/sh"
        args    = ["-c", "echo $NOMAD_META_greeting $NOMAD_META_name; cat $NOMAD_TASK_DIR/payload.txt"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
