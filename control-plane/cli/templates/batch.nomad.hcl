# A batch job: each of its tasks runs until it is done.

job "example" {
  type = "batch"

  group "sum" {
    # So many of it run, each with its own number in NOMAD_ALLOC_INDEX.
    count = 3

    # A task that fails is started again on its node, up to this often ...
    restart {
      attempts = 2
      delay    = "5s"
      interval = "10m"
      mode     = "fail"
    }

    # ... and then once more on another one.
    reschedule {
      attempts  = 1
      interval  = "1h"
      unlimited = false
    }

    task "sum" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo part $NOMAD_ALLOC_INDEX; sleep 5; echo done"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
