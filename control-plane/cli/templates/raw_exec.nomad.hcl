# A service on the "raw_exec" driver: a program of the machine, with nothing between it and the machine. The driver is
# off unless a client's settings say `plugin "raw_exec" { config { enabled = true } }`; `drover agent -dev` has it on.

job "example" {
  type = "service"

  group "clock" {
    count = 1

    task "clock" {
      driver = "raw_exec"

      # A program of the machine by its path, and what it is given.
      config {
        command = "/bin/sh"
        args    = ["-c", "while true; do date; sleep 5; done"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
