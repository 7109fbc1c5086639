//! Compiles `probes.c` once for each layout and links each result into the executable of that layout alone.

#[path = "build/header.rs"]
mod header;

use std::{env, fs, path::PathBuf};

/// The name of each layout, as in `simnode-NAME`, and the value of `LAYOUT` in `probes.c`.
const LAYOUTS: [(&str, &str); 6] =
    [("v23", "23"), ("v25", "25"), ("v26", "26"), ("v27-patched", "27"), ("v29", "29"), ("v31", "31")];

/// What makes the executables look to a tracer as those of Bitcoin Core do.
const LINK_ARGUMENTS: [&str; 2] = [
    // The notes tell addresses relative to this section, which nothing refers to: without this it would be collected.
    "-Wl,--undefined=_.stapsdt.base",
    // The linker of Bitcoin Core's releases. LLVM's puts the end of the relocated data and the semaphores on one page of
    // the file, which is then mapped twice; when a process starts while a tracer is attached, the kernel counts the
    // tracer in on the first mapping, which is not the one that the process reads.
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
            // One as compilers have it by default, with arguments in memory; those of the others stand in registers.
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
