# A parameterized job: it waits to be launched, each time with other values.
#
#   echo "and some words" | drover job dispatch -meta name=you example -

job "example" {
  type = "batch"

  parameterized {
    # What a launch must bring, and what it may bring.
    payload       = "optional"
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
        args    = ["-c", "echo $NOMAD_META_greeting $NOMAD_META_name; cat local/words.txt 2>/dev/null || true"]
      }

      # What a launch brings is in this file, below the task's local directory.
      dispatch_payload {
        file = "words.txt"
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
