# A system job: one on every node that fits.

job "example" {
  type = "system"

  group "watch" {
    task "watch" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while true; do cat /proc/loadavg; sleep 30; done"]
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }
  }
}
