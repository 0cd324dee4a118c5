//! Text to a checked job, in this process: parse, evaluate, decode, fill in, check.

use std::time::Instant;

use anyhow::bail;
use drover_jobspec::{Inputs, Source, Surroundings, canonicalize, parse_hcl};

use crate::figure::Figure;
use crate::product::Product;

/// Groups of a job of some 200 lines.
const GROUPS_SMALL: usize = 4;
/// Groups of the large jobs: the time must grow as they do.
const GROUPS_LARGE: [usize; 4] = [250, 500, 1000, 2000];
const ROUNDS_LARGE_MAX: usize = 10;

pub fn run(_: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let small = job_text(GROUPS_SMALL, GROUP);
    let name = format!("parse {}-line job", small.lines().count());
    let mut figures = vec![Figure::of(name, "drover", "ms", samples(&small, runs)?)];
    for groups in GROUPS_LARGE {
        let text = job_text(groups, GROUP_SHORT);
        let name = format!("parse {groups}-group job, {} KiB", text.len() / 1024);
        figures.push(Figure::of(name, "drover", "ms", samples(&text, runs.min(ROUNDS_LARGE_MAX))?));
    }
    Ok(figures)
}

fn samples(text: &str, runs: usize) -> anyhow::Result<Vec<f64>> {
    // The first one meets cold caches.
    once(text)?;
    (0..runs).map(|_| once(text)).collect()
}

/// Milliseconds of one text to one job.
fn once(text: &str) -> anyhow::Result<f64> {
    let source = Source::new("bench.nomad.hcl", text);
    let start = Instant::now();
    let job = match parse_hcl(&source, &Inputs::default()) {
        Ok(job) => job,
        Err(problems) => bail!("{}", problems[0].human(&source)),
    };
    if let Err(refusal) = canonicalize(job, &Surroundings::of("global")) {
        bail!("{refusal:?}");
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// A job file with that many groups, such as people write.
fn job_text(groups: usize, group: &str) -> String {
    let mut text = String::from(HEAD);
    for number in 0..groups {
        text.push_str(&group.replace("NUMBER", &number.to_string()));
    }
    text.push_str("}\n");
    text
}

const HEAD: &str = r#"variable "image" {
  type    = string
  default = "registry.example/web"
}

variable "tags" {
  type    = list(string)
  default = ["a", "b"]
}

locals {
  version = "1.4.2"
  full    = "${var.image}:${local.version}"
}

job "bench" {
  datacenters = ["dc1", "dc2"]
  type        = "service"
  priority    = 60

  meta {
    owner   = "web"
    version = local.version
  }

  update {
    max_parallel     = 2
    min_healthy_time = "10s"
    healthy_deadline = "3m"
  }
"#;

/// A group of the large jobs: 2,000 of them stay within the megabyte that a job file may have.
const GROUP_SHORT: &str = r#"
  group "web-NUMBER" {
    count = 2

    task "server" {
      driver = "exec"

      config {
        command = "/usr/bin/${local.full}"
        args    = ["-port", "${NOMAD_PORT_http}", "-tags", join(",", var.tags)]
      }

      env {
        LEVEL = upper("info")
      }

      resources {
        cpu    = 200
        memory = 128
      }
    }
  }
"#;

/// A group of the small job.
const GROUP: &str = r#"
  group "web-NUMBER" {
    count = 2

    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }

    network {
      port "http" {}
    }

    restart {
      attempts = 3
      interval = "10m"
      delay    = "15s"
      mode     = "delay"
    }

    task "server" {
      driver = "exec"

      config {
        command = "/usr/bin/${local.full}"
        args    = ["-port", "${NOMAD_PORT_http}", "-tags", join(",", var.tags)]
      }

      env {
        LEVEL = upper("info")
        GROUP = "web-NUMBER"
      }

      resources {
        cpu    = 200
        memory = 128
      }
    }
  }
"#;
