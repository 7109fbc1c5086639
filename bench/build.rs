//! Builds the empty program, and links the simulated node's tracepoints of the newest layout into the emitter.

#[path = "../simnode/build/header.rs"]
mod header;

use std::{env, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    println!("cargo:rerun-if-changed=bpf");
    let built = SkeletonBuilder::new()
        .source("bpf/empty.bpf.c")
        .obj(out.join("empty.bpf.o"))
        .clang_args(["-Wall", "-Werror", "-mcpu=v3", &format!("-I/usr/include/{target}-linux-gnu")])
        .build();
    if let Err(error) = built {
        eprintln!("cannot build the empty BPF program: {error:#}");
        std::process::exit(1);
    }

    header::write(&out);
    for source in ["build", "probes.c", "src/table.rs"] {
        println!("cargo:rerun-if-changed=../simnode/{source}");
    }
    let objects = cc::Build::new()
        .file("../simnode/probes.c")
        .include(&out)
        .define("LAYOUT", "31")
        .opt_level(2)
        .debug(false)
        .out_dir(&out)
        .compile_intermediates();
    for object in objects {
        println!("cargo:rustc-link-arg-bin=emitter={}", object.display());
    }
    // As in simnode's own build, which says why.
    for argument in ["-Wl,--undefined=_.stapsdt.base", "-fuse-ld=bfd"] {
        println!("cargo:rustc-link-arg-bin=emitter={argument}");
    }
}
