//! How `drover-edge` is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwinding.ld");
    // A static program relocates itself at its start; packed, the list of those places shrinks from half a MiB to a
    // fiftieth. glibc understands it since 2.36; a linker that does not (before 2.38) warns and goes on without.
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let release = std::env::var("PROFILE").as_deref() == Ok("release");
    if release && std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
        // The profile strips too, but cargo forgets that for a package whose optimisation it is told of its own.
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-T{folder}/no-unwinding.ld");
        // Read by the gate, which says what grew.
        let out = std::env::var("OUT_DIR").expect("cargo sets it for build scripts");
        println!("cargo::rustc-link-arg-bins=-Wl,-Map={out}/drover-edge.map");
    }
}
