# A periodic job: a batch job that is launched at certain times.
#
#   drover job periodic force example    launches it now

job "example" {
  type = "batch"

  periodic {
    # Minute, hour, day of month, month, day of week: a quarter past every hour, and every night at three.
    crons     = ["15 * * * *", "0 3 * * *"]
    time_zone = "UTC"

    # Skip a launch while the one before it still runs.
    prohibit_overlap = true
  }

  group "tidy" {
    task "tidy" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo tidying up; date"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
