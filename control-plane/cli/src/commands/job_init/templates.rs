//! The example jobs that drover has itself.

/// The example of services in a mesh.
pub const CONNECT: &str = "connect";

/// Name, what it shows, the text. The first is the one that is written when none is named.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("exec", "A service that is shut off from its machine, with words about each block", drover_jobspec::init::EXAMPLE),
    ("raw_exec", "A service that is not", include_str!("../../../templates/raw_exec.nomad.hcl")),
    ("batch", "Work that is done at some point", include_str!("../../../templates/batch.nomad.hcl")),
    ("periodic", "Work that is done at certain times", include_str!("../../../templates/periodic.nomad.hcl")),
    ("parameterized", "Work that is launched with values", include_str!("../../../templates/parameterized.nomad.hcl")),
    ("system", "One on every node", include_str!("../../../templates/system.nomad.hcl")),
    (CONNECT, "Services in a mesh", include_str!("../../../templates/connect.nomad.hcl")),
];

/// The example of that name; the first one for an empty name.
pub fn text(name: &str) -> Option<&'static str> {
    let mut named = TEMPLATES.iter().filter(|(own, _, _)| name.is_empty() || *own == name);
    named.next().map(|(_, _, text)| *text)
}

/// Names, and what each example shows.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEMPLATES.iter().map(|(name, about, _)| (*name, *about))
}

/// The text without lines that hold only a comment, and without the blank lines that leaves at the top of blocks.
pub fn without_comments(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let is_opening = lines.last().is_none_or(|before| before.is_empty() || before.ends_with('{'));
        if !(line.is_empty() && is_opening) {
            lines.push(line);
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use drover_hcl::{Inputs, Source};

    use super::*;

    #[test]
    fn every_example_is_a_job_and_evenly_laid_out() {
        for (name, _, text) in TEMPLATES {
            for text in [(*text).to_owned(), without_comments(text)] {
                let source = Source::new(*name, &text);
                let job = drover_jobspec::parse_hcl(&source, &Inputs::default());
                assert!(job.is_ok(), "{name}: {job:?}");
                assert_eq!(drover_hcl::format(&source).unwrap(), text, "{name}");
            }
        }
    }

    #[test]
    fn examples_ask_for_nothing_that_is_not_there() {
        for (name, _, text) in TEMPLATES.iter().filter(|(name, _, _)| *name != CONNECT) {
            let job = drover_jobspec::parse_hcl(&Source::new(*name, *text), &Inputs::default()).unwrap();
            let job = drover_jobspec::canonicalize(job, &drover_jobspec::Surroundings::of("global")).unwrap().job;
            assert_eq!(drover_model::unacted::warnings(&job), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn comments_go_and_the_rest_stays() {
        let text = "# About\n\njob \"a\" {\n\n  # Why.\n  type = \"batch\" # stays\n\n  group \"g\" {}\n}\n";
        let expected = "job \"a\" {\n  type = \"batch\" # stays\n\n  group \"g\" {}\n}\n";
        assert_eq!(without_comments(text), expected);
    }
}
