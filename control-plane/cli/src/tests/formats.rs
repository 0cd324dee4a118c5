use std::fs;

use super::Line;

const UNEVEN: &str = "job \"a\" {\n type=\"batch\"\n}\n";
const EVEN: &str = "job \"a\" {\n  type = \"batch\"\n}\n";

#[test]
fn files_are_laid_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("below")).unwrap();
    let write_all = || {
        for name in ["a.hcl", "b.nomad", "c.txt", "below/d.hcl"] {
            fs::write(path(name), UNEVEN).unwrap();
        }
        fs::write(path("even.hcl"), EVEN).unwrap();
    };
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    write_all();
    let root = folder.path().to_str().unwrap();
    Line::new(&format!("fmt -check {root}")).run().ended(1, &format!("{}\n{}", path("a.hcl"), path("b.nomad")), "");
    assert_eq!(read("a.hcl"), UNEVEN);
    Line::new(&format!("fmt {root}")).run().printed(&format!("{}\n{}", path("a.hcl"), path("b.nomad")));
    assert_eq!((read("a.hcl").as_str(), read("b.nomad").as_str()), (EVEN, EVEN));
    assert_eq!((read("c.txt").as_str(), read("below/d.hcl").as_str()), (UNEVEN, UNEVEN));
    Line::new(&format!("fmt -recursive {root}")).run().printed(&path("below/d.hcl"));
    Line::new(&format!("fmt -check {root}")).run().printed("");
    write_all();
    assert_eq!(Line::new(&format!("fmt -list=false -write=false {}", path("a.hcl"))).run().stdout, EVEN);
    assert_eq!(read("a.hcl"), UNEVEN);
}

#[test]
fn standard_input_goes_to_standard_output() {
    let ran = Line::new("fmt -").stdin(UNEVEN).run();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, EVEN));
    assert_eq!(Line::new("fmt -check -").stdin(UNEVEN).run().status, 1);
    let broken = Line::new("fmt -").stdin("job {").run();
    assert!(broken.status == 1 && broken.stderr.starts_with("<stdin>:1:"), "{}", broken.stderr);
}

#[test]
fn what_is_no_file_of_ours_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("c.txt"), UNEVEN).unwrap();
    Line::new(&format!("fmt {} {}", path("none.hcl"), path("c.txt"))).run().failed(&format!(
        "No file or directory at {}\nOnly .nomad and .hcl files can be processed using drover fmt",
        path("none.hcl")
    ));
}
