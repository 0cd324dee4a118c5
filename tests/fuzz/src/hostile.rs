//! Small texts that would grow without end, or cost far more than their size: each must end within the bounds of one
//! input, with problems that can be shown.

use anyhow::bail;

use crate::run;
use crate::targets::ALL;

/// Tries every text.
///
/// # Errors
/// Some of them break the bounds, by their first words.
pub fn run() -> anyhow::Result<()> {
    let Some(target) = ALL.iter().find(|target| target.word == "hcl-job") else { bail!("no target of job files") };
    let big = "format(\"%1000s\", \"a\")";
    let mega = format!("replace(replace({big}, \" \", {big}), \"a\", \"{}\")", "b".repeat(7));
    let texts = [
        // Work that a result does not show.
        format!("locals {{\n  t = {mega}\n}}\nv = trim(local.t, \"${{local.t}}x\")\n"),
        format!("locals {{\n  t = {mega}\n}}\nv = [for i in range(1000) : strlen(local.t)]\n"),
        format!("locals {{\n  t = {mega}\n}}\nv = formatlist(\"%.0s%.0s\", range(1000), local.t)\n"),
        format!("v = format(\"{}\", 1 / 3)\n", "%[1]e".repeat(10_000)),
        format!("locals {{\n  t = {mega}\n}}\nv = format(\"{}\", local.t)\n", "%[1].0s".repeat(10_000)),
        format!("v = regex_replace(\"{}\", \"(a*)*b|\", \"x\")\n", "a".repeat(30_000)),
        format!("v = [for i in range(1000) : regex_replace(\"{}\", \"(a{{1,90}}){{1,90}}b\", \"x\")]\n", "a".repeat(5_000)),
        "v = [for i in range(1000) : [for j in range(1000) : \"${1e2400 / 3}\"]]\n".to_string(),
        "v = [for i in range(1000) : bcrypt(\"a\", 10)]\n".to_string(),
        format!("v = parseint(\"{}\", 10)\n", "9".repeat(500_000)),
        format!("v = setproduct([for i in range(300) : {mega}], range(300))\n"),
        format!("v = csvdecode(\"{}\")\n", (0..20_000).map(|i| format!("c{i},")).collect::<String>()),
        "v = split(\"\", jsonencode([for i in range(1000) : [for j in range(900) : i]]))\n".to_string(),
        // Types that fit nowhere, nested.
        format!("v = true ? {}1{} : {}true{}\n", "[".repeat(50), "]".repeat(50), "[".repeat(50), "]".repeat(50)),
        format!("v = true ? {}1{} : {}true{}\n", "[1,".repeat(50), "]".repeat(50), "[1,".repeat(50), "]".repeat(50)),
        // Many problems and many names.
        format!("v = {{\n{}}}.nosuch\n", (0..30_000).map(|i| format!("n{i} = 1\n")).collect::<String>()),
        (0..20_000).map(|i| format!("a{i} = nosuch()\n")).collect::<String>(),
        format!("locals {{\n{}}}\n", (0..20_000).map(|i| format!("a{i} = nosuch()\n")).collect::<String>()),
        format!("a = [{}]\n", "nosuch(),".repeat(40_000)),
        (0..3000)
            .map(|i| {
                format!(
                    "variable \"a{i}\" {{\n  default = 1\n  validation {{\n    condition = length([for i in range(1000) : var.a{i}]) > 0\n    error_message = \"x\"\n  }}\n}}\n"
                )
            })
            .collect(),
        "a = 1\n".repeat(100_000),
    ];
    let count = texts.len();
    let mut wrong = Vec::new();
    for text in texts {
        let start: String = text.chars().take(90).collect();
        if let Err(error) = run::run_text(target, text.into_bytes()) {
            wrong.push(format!("{error:#}: {start}"));
        }
    }
    if wrong.is_empty() {
        println!("{:<16} {count} texts", "hostile");
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}
