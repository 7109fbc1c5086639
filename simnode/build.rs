//! Compiles `probes.c` once for each layout and links each result into the executable of that layout alone.

#[path = "build/header.rs"]
mod header;

use std::{env, fs, path::PathBuf};

/// The name of each layout, as in `simnode-NAME`, and the value of `LAYOUT` in `probes.c`.
const LAYOUTS: [(&str, &str); 6] =
    [("v23", "23"), ("v25", "25"), ("v26", "26"), ("v27-patched", "27"), ("v29", "29"), ("v31", "31")];

/// Makes the executables look to a tracer like those of Bitcoin Core.
const LINK_ARGUMENTS: [&str; 2] = [
    // The notes give addresses relative to this section. Nothing refers to it, so the linker would drop it without
    // this.
    "-Wl,--undefined=_.stapsdt.base",
    // The linker of Bitcoin Core's releases. LLVM's linker puts the end of the relocated data and the semaphores on one
    // page of the file, which is then mapped twice. If a process starts while a tracer is attached, the kernel counts
    // the tracer in the first mapping, and the process reads the other one.
    "-fuse-ld=bfd",
];

fn main() {
    println!("cargo:rerun-if-changed=probes.c");
    println!("cargo:rerun-if-changed=src/table.rs");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    header::write(&out);
    for (name, number) in LAYOUTS {
        let folder = out.join(name);
        fs::create_dir_all(&folder).expect("OUT_DIR is writable");
        let objects = cc::Build::new()
            .file("probes.c")
            .include(&out)
            .define("LAYOUT", number)
            // One layout as compilers build by default, with arguments in memory; those of the others are in registers.
            .opt_level(if name == "v23" { 0 } else { 2 })
            .debug(false)
            .warnings(true)
            .extra_warnings(true)
            .warnings_into_errors(true)
            .out_dir(&folder)
            .compile_intermediates();
        for object in objects {
            println!("cargo:rustc-link-arg-bin=simnode-{name}={}", object.display());
        }
        for argument in LINK_ARGUMENTS {
            println!("cargo:rustc-link-arg-bin=simnode-{name}={argument}");
        }
    }
}
