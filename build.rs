//! Builds the kernel side: `bpf/bitcointap.bpf.c` in, the object and the Rust types of its records out, in `$OUT_DIR`.
//! And tells the program of which revision it is, and by which compiler.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // The UAPI headers include <asm/…>, which Debian keeps for each architecture apart.
    let headers = format!("-I/usr/include/{target}-linux-gnu");
    println!("cargo:rerun-if-changed=bpf");
    if let Err(error) = SkeletonBuilder::new()
        .source("bpf/bitcointap.bpf.c")
        .obj(out.join("bitcointap.bpf.o"))
        // v3 has the atomic exchange; newer clangs default to it.
        .clang_args(["-Wall", "-Werror", "-mcpu=v3", &headers])
        .build_and_generate(out.join("bitcointap.skel.rs"))
    {
        eprintln!("cannot build the BPF programs: {error:#}");
        eprintln!("needed: clang 14 or later and the kernel's UAPI headers (Debian: clang, linux-libc-dev)");
        std::process::exit(1);
    }

    println!("cargo:rerun-if-changed=build.rs");
    // Changes with each commit. Elsewhere in a work tree of its own, and not there in a published package, which has no revision
    // either: what is missing would be a change at each build.
    if let Some(log) = printed(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    set("BITCOINTAP_REVISION", Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    set("BITCOINTAP_RUSTC", Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC")).arg("--version"));
}

/// Sets a variable of the compilation to what a program prints, if it succeeds.
fn set(name: &str, program: &mut Command) {
    if let Some(value) = printed(program) {
        println!("cargo:rustc-env={name}={value}");
    }
}

fn printed(program: &mut Command) -> Option<String> {
    let output = program.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
