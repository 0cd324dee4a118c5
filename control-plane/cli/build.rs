//! How `drover` is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A static program relocates itself at its start; packed, the list of those places shrinks from half a MiB to a
    // fiftieth. glibc understands it since 2.36; a linker that does not (before 2.38) warns and goes on without.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
