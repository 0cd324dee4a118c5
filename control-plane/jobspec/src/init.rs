//! The example that `job init` writes: a service on the `exec` driver that runs on a bare machine.

/// The name of the file that is written.
pub const FILE_NAME: &str = "example.nomad.hcl";

/// The example with words about each block.
pub const EXAMPLE: &str = r#"# An example job. It runs on a machine that has nothing but a shell.
#
#   drover job plan example.nomad.hcl    shows what would happen
#   drover job run example.nomad.hcl     makes it happen
#   drover job status example            shows how it is going
#   drover job stop example              ends it

job "example" {

  # What kind of work it is: "service" runs until it is stopped, "batch" runs until it is done.
  type = "service"

  # Where it may run. These patterns are matched against the datacenter of each node.
  datacenters = ["*"]

  # What the node must be like. Several constraints must all be met.
  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  # How a changed job replaces what is running.
  update {
    # Replace one at a time.
    max_parallel = 1

    # A new one counts as healthy when its tasks have been running for this long.
    health_check     = "task_states"
    min_healthy_time = "5s"

    # If it is not healthy by then, the update has failed ...
    healthy_deadline  = "1m"
    progress_deadline = "5m"

    # ... and the last good version comes back.
    auto_revert = true
  }

  # A group is a set of tasks that run together on one node.
  group "clock" {

    # How many of it run.
    count = 1

    # When a task fails it is started again on the same node, up to this often ...
    restart {
      attempts = 3
      interval = "5m"
      delay    = "10s"
      mode     = "fail"
    }

    # ... and after that another node takes over.
    reschedule {
      delay          = "30s"
      delay_function = "exponential"
      max_delay      = "10m"
      unlimited      = true
    }

    # A task is one program.
    task "clock" {

      # "exec" shuts the program off from the rest of the machine.
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while true; do echo \"$GREETING it is $(date)\"; sleep 5; done"]
      }

      # The program sees these and many NOMAD_* variables, such as NOMAD_ALLOC_ID.
      env {
        GREETING = "${NOMAD_TASK_NAME} on ${node.unique.name}:"
      }

      # What it gets of the node: MHz and MiB.
      resources {
        cpu    = 100
        memory = 64
      }

      # Its output, kept in files of this size (MB), this many of each.
      # `drover alloc logs -f -job example` follows it.
      logs {
        max_files     = 3
        max_file_size = 5
      }

      # How long it may take to end after it was asked to.
      kill_timeout = "5s"
    }
  }
}
"#;

/// The example without words.
pub const EXAMPLE_SHORT: &str = r#"job "example" {
  type = "service"

  group "clock" {
    count = 1

    task "clock" {
      driver = "exec"

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
"#;

#[cfg(test)]
mod tests {
    use drover_hcl::{Inputs, Source};

    #[test]
    fn examples_are_good_jobs_without_warnings() {
        for text in [super::EXAMPLE, super::EXAMPLE_SHORT] {
            let source = Source::new(super::FILE_NAME, text);
            let job = crate::parse_hcl(&source, &Inputs::default()).unwrap();
            let canonical = crate::canonicalize(job, &crate::Surroundings::of("global")).unwrap();
            assert_eq!(canonical.warnings, Vec::<String>::new());
            assert_eq!(drover_model::unacted::warnings(&canonical.job), Vec::<String>::new());
            assert_eq!(canonical.job.task_groups[0].tasks[0].driver, "exec");
        }
    }
}
