//! Compiles the kernel side. In: `bpf/`, clang, the kernel's UAPI headers of an architecture. Out: its object, without
//! any path of the build machine, and the Rust types of its records. build.rs uses it with the feature `build-bpf`. The
//! test that compares `bpf/objects` (tests/kernel_side.rs) uses it, too, and writes `bpf/objects` anew.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::{Linker, libbpf_sys::API_HEADERS};

/// The results for one architecture.
pub struct Built {
    pub object: Vec<u8>,
    pub types: String,
}

/// Compiles for an architecture, by Rust's name of it, from the source below `root`. `scratch` is a directory for
/// intermediate files.
pub fn compile(root: &Path, arch: &str, scratch: &Path) -> Result<Built, String> {
    let headers = scratch.join("headers");
    fs::create_dir_all(headers.join("bpf")).map_err(|error| format!("{}: {error}", headers.display()))?;
    for (name, text) in API_HEADERS {
        let path = headers.join("bpf").join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let made = scratch.join("made");
    fs::create_dir_all(&made).map_err(|error| format!("{}: {error}", made.display()))?;
    let header = made.join("tracepoints.h");
    fs::write(&header, numbers()).map_err(|error| format!("{}: {error}", header.display()))?;
    let compiled = scratch.join("compiled.o");
    let mut clang = Command::new("clang");
    clang.current_dir(root).args(["-g", "-O2", "-target", "bpf", "-fno-stack-protector", "-Wall", "-Werror"]);
    // v3 has the atomic exchange; newer clangs default to it.
    clang.args(["-mcpu=v3", &format!("-D__TARGET_ARCH_{}", name_in_libbpf(arch))]);
    // Line numbers, which the verifier's messages have, name files. The paths must be the same wherever it is built.
    clang.arg(format!("-ffile-prefix-map={}=libbpf", headers.display()));
    clang.arg(format!("-ffile-prefix-map={}=made", made.display()));
    clang.arg(format!("-ffile-prefix-map={}=.", root.display())).arg("-fdebug-compilation-dir=.");
    clang.args([
        Path::new("-I"),
        &headers,
        Path::new("-I"),
        &made,
        Path::new("-c"),
        Path::new("bpf/bitcointap.bpf.c"),
        Path::new("-o"),
        &compiled,
    ]);
    for directory in uapi(arch) {
        clang.arg("-idirafter").arg(directory);
    }
    let output = clang.output().map_err(|error| format!("clang: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }

    // libbpf's linker drops the debug information.
    let linked = scratch.join("bitcointap.bpf.o");
    let mut linker = Linker::new(&linked).map_err(|error| format!("{}: {error}", linked.display()))?;
    linker
        .add_file(&compiled)
        .and_then(|()| linker.link())
        .map_err(|error| format!("{}: {error}", linked.display()))?;
    let skeleton = scratch.join("bitcointap.skel.rs");
    SkeletonBuilder::new()
        .obj(&linked)
        .reference_obj(true)
        .generate(&skeleton)
        .map_err(|error| format!("cannot make types of the BPF object: {error:#}"))?;
    let skeleton = fs::read_to_string(&skeleton).map_err(|error| format!("{}: {error}", skeleton.display()))?;
    let object = fs::read(&linked).map_err(|error| format!("{}: {error}", linked.display()))?;
    let types = types(&skeleton).ok_or("libbpf-cargo's skeleton has no module of types")?;
    Ok(Built { object, types })
}

macro_rules! tracepoints {
    ($(
        $(#[$doc:meta])*
        $variant:ident: $name:literal, since $since:literal, arguments [$($arguments:literal),+], about $about:ident,
            record $record:ident;
    )*) => {
        /// Their names, in the order of their numbers.
        const NAMES: &[&str] = &[$($name),*];
    };
}

include!("../src/tracepoint/table.rs");

/// `enum tracepoint`: NET_INBOUND_MESSAGE for net:inbound_message, and so on.
fn numbers() -> String {
    let constants: String =
        NAMES.iter().map(|name| format!("\t{},\n", name.replace(':', "_").to_uppercase())).collect();
    let losses = "\t/* Not a tracepoint: the record that says what is missing before the next one. */\n\tLOSSES = 255,";
    format!("enum tracepoint {{\n{constants}\tTRACEPOINT_COUNT,\n{losses}\n}};\n")
}

/// The first line of clang's own description, which has its version.
#[allow(dead_code, reason = "for the test")]
pub fn clang_version() -> Option<String> {
    let output = Command::new("clang").arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().next()?.split_once("clang version ")?.1;
    Some(version.split(['-', ' ', '+']).next()?.to_owned())
}

/// The skeleton is used only for these: tap.rs opens the object itself.
fn types(skeleton: &str) -> Option<String> {
    let body = &skeleton[skeleton.find("pub mod types {")?..];
    let mut depth = 0;
    let end = body.char_indices().find_map(|(at, character)| {
        depth += match character {
            '{' => 1,
            '}' => -1,
            _ => return None,
        };
        (depth == 0).then_some(at)
    })?;
    Some(format!("{}\n", &body[..=end]))
}

fn name_in_libbpf(arch: &str) -> &str {
    match arch {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where Debian has an architecture's <asm/…>: with its libraries, with a cross compiler, and since Debian 13 with all
/// others.
fn uapi(arch: &str) -> Vec<PathBuf> {
    let debian = if arch == "aarch64" { "arm64" } else { arch };
    let places = [
        format!("/usr/include/{arch}-linux-gnu"),
        format!("/usr/{arch}-linux-gnu/include"),
        format!("/usr/lib/linux/uapi/{debian}"),
    ];
    places.map(PathBuf::from).into_iter().filter(|place| place.join("asm/ptrace.h").exists()).collect()
}
