//! Gives the crate the kernel side: the BPF object of the target's architecture, the Rust types of its records and how these lie in memory, in `$OUT_DIR`. Both
//! are taken from `bpf/objects`, so that no clang is needed; with the feature `build-bpf` they are made of `bpf/` anew. Says in one
//! line what the machine lacks, and tells the program of which revision it is and by which compiler.

#[cfg(feature = "build-bpf")]
#[path = "build/kernel_side.rs"]
mod kernel_side;
#[path = "build/layouts.rs"]
mod layouts;
#[path = "build/sources.rs"]
mod sources;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed={}", sources::TABLE);
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    if let Err(why) =
        look_for_what_libbpf_takes().and_then(|()| kernel_side(&root, &arch, &out)).and_then(|()| record_layouts(&out))
    {
        eprintln!("bitcointap cannot be built: {why}");
        std::process::exit(1);
    }

    // This file changes with each commit. It is elsewhere in a further work tree, and does not exist in a published
    // package, which has no revision, either. A missing file would count as a change at each build.
    if let Some(log) = printed(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    set("BITCOINTAP_REVISION", Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    set("BITCOINTAP_RUSTC", Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC")).arg("--version"));
}

/// The object and the types of the current `bpf/`.
#[cfg(feature = "build-bpf")]
fn kernel_side(root: &Path, arch: &str, out: &Path) -> Result<(), String> {
    let built = kernel_side::compile(root, arch, out).map_err(|error| {
        format!("the BPF programs take clang 14 or later and the kernel's UAPI headers (Debian: clang linux-libc-dev): {error}")
    })?;
    put(&out.join("bitcointap.bpf.o"), &built.object)?;
    put(&out.join("types.rs"), built.types.as_bytes())
}

/// Those of `bpf/objects`.
#[cfg(not(feature = "build-bpf"))]
fn kernel_side(root: &Path, arch: &str, out: &Path) -> Result<(), String> {
    let kept = root.join("bpf/objects");
    let made_of = fs::read_to_string(kept.join("SOURCES")).unwrap_or_default();
    if !sources::list(root).lines().eq(made_of.lines().filter(|line| !line.starts_with('#'))) {
        return Err(
            "bpf/ is not what bpf/objects was made of: run `make bpf`, or build with --features build-bpf".into()
        );
    }
    for (name, as_name) in [("bpf.o", "bitcointap.bpf.o"), ("types.rs", "types.rs")] {
        let bytes = fs::read(kept.join(format!("{arch}.{name}"))).map_err(|_| {
            format!("bpf/objects has nothing for {arch}: build with --features build-bpf, which takes clang")
        })?;
        put(&out.join(as_name), &bytes)?;
    }
    Ok(())
}

/// What recordings say of records, from their types.
fn record_layouts(out: &Path) -> Result<(), String> {
    let types = out.join("types.rs");
    let types = fs::read_to_string(&types).map_err(|error| format!("{}: {error}", types.display()))?;
    put(&out.join("layouts.rs"), layouts::code(&types)?.as_bytes())
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// libbpf-sys compiles libbpf. If something is missing, it says so at length.
fn look_for_what_libbpf_takes() -> Result<(), String> {
    println!("cargo:rerun-if-env-changed=PKG_CONFIG");
    // This feature brings these libraries, and needs other tools, which libbpf-sys names.
    if env::var_os("CARGO_FEATURE_VENDORED").is_some() {
        return Ok(());
    }
    let pkg_config = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let runs = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    let Ok(compiler) = cc::Build::new().cargo_metadata(false).try_get_compiler() else {
        return Err("a C compiler is missing (Debian: gcc libc6-dev)".into());
    };
    let has = |header: &str| {
        let probe = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("probe.c");
        let preprocess =
            || compiler.to_command().arg("-E").arg(&probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
        fs::write(&probe, format!("#include <{header}>\n")).is_ok() && preprocess().is_ok_and(|status| status.success())
    };
    let needed = [
        ("make", "make", runs("make")),
        ("pkg-config", "pkg-config", runs(&pkg_config)),
        ("the C library's headers", "libc6-dev", has("stdio.h")),
        ("the kernel's headers", "linux-libc-dev", has("linux/bpf.h")),
        ("libelf.h", "libelf-dev", has("libelf.h")),
        ("zlib.h", "zlib1g-dev", has("zlib.h")),
    ];
    let missing: Vec<_> = needed.iter().filter(|(.., is_there)| !is_there).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, ..)| *name).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    Err(format!("{} missing (Debian: apt install {})", names.join(", "), packages.join(" ")))
}

/// Sets a variable of the compilation to the output of a program, if it succeeds.
fn set(name: &str, program: &mut Command) {
    if let Some(value) = printed(program) {
        println!("cargo:rustc-env={name}={value}");
    }
}

fn printed(program: &mut Command) -> Option<String> {
    let output = program.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
