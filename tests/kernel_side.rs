//! bpf/objects is what clang makes of bpf/ here, and the published files are exactly those that the crate is built
//! from. `make bpf` writes bpf/objects anew.

#[path = "../build/kernel_side.rs"]
mod compiler;
#[path = "../build/sources.rs"]
mod sources;

use std::{env, fs, path::Path, process::Command};

const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether this clang made the kept objects: others make other instructions from the same source.
fn is_by_this_clang(kept: &str) -> bool {
    let version = compiler::clang_version().expect("clang is there");
    kept.lines().next() == Some(&format!("# clang {version}"))
}

#[test]
fn the_objects_are_what_clang_makes_of_the_source() {
    let kept = root().join("bpf/objects");
    if env::var_os("REQUIRE_CLANG").is_none() && compiler::clang_version().is_none() {
        return eprintln!("skipped: there is no clang");
    }
    let built = ARCHITECTURES.map(|arch| {
        let scratch = tempfile::tempdir().unwrap();
        let built = compiler::compile(root(), arch, scratch.path()).unwrap_or_else(|error| panic!("{arch}: {error}"));
        (arch, built)
    });

    let sources = sources::list(root());
    if env::var_os("BLESS").is_some() {
        for (arch, built) in &built {
            fs::write(kept.join(format!("{arch}.bpf.o")), &built.object).unwrap();
            fs::write(kept.join(format!("{arch}.types.rs")), &built.types).unwrap();
        }
        let version = compiler::clang_version().unwrap();
        fs::write(kept.join("SOURCES"), format!("# clang {version}\n{sources}")).unwrap();
    }

    let made_of = fs::read_to_string(kept.join("SOURCES")).unwrap();
    assert!(made_of.lines().skip(1).eq(sources.lines()), "bpf/ has changed: make bpf");
    if !is_by_this_clang(&made_of) {
        assert!(env::var_os("REQUIRE_CLANG").is_none(), "bpf/objects is by another clang: {made_of}");
        return eprintln!(
            "not compared: bpf/objects is by another clang than this one, which compiles bpf/ without a warning"
        );
    }
    for (arch, built) in built {
        let object = fs::read(kept.join(format!("{arch}.bpf.o"))).unwrap();
        assert!(object == built.object, "{arch}.bpf.o is not what clang makes of bpf/: make bpf");
        let types = fs::read_to_string(kept.join(format!("{arch}.types.rs"))).unwrap();
        assert!(without_layout(&types) == without_layout(&built.types), "{arch}.types.rs is of another bpf/: make bpf");
    }
}

/// Versions of rustfmt break lines at different places.
fn without_layout(code: &str) -> String {
    code.chars().filter(|character| !character.is_whitespace() && *character != ',').collect()
}

#[test]
fn the_objects_name_no_place_of_a_machine() {
    for arch in ARCHITECTURES {
        let object = fs::read(root().join(format!("bpf/objects/{arch}.bpf.o"))).unwrap();
        let paths = |place: &str| object.windows(place.len()).any(|window| window == place.as_bytes());
        assert!(paths("./bpf/event.h") && paths("libbpf/bpf/usdt.bpf.h"), "{arch}: line numbers name their files");
        for place in ["/tmp/", "/home/", "/root/", "/work/", "/usr/", root().to_str().unwrap()] {
            assert!(!paths(place), "{arch}: {place}");
        }
    }
}

/// What `cargo package` packs, with folders of kept files cut to their names.
#[test]
fn what_is_published_is_what_it_is_built_of() {
    let mut cargo = Command::new(env!("CARGO"));
    let listed = cargo.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let allowed = |file: &str| {
        file.starts_with("src/")
            || file.starts_with("examples/") && file.ends_with(".rs")
            || file.starts_with("benches/")
            || file.starts_with("build/")
            || file.starts_with("bpf/")
    };
    let mut others: Vec<&str> = listed.lines().filter(|file| !allowed(file)).collect();
    others.sort_unstable();
    let expected = [
        ".cargo_vcs_info.json",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "LICENSE",
        "README.md",
        "build.rs",
        "docs/migration.md",
    ];
    // The first one is there if it is packed from a work tree of git.
    assert!(others == expected || others == expected[1..], "{others:?}");
    for file in ["bpf/bitcointap.bpf.c", "bpf/objects/x86_64.bpf.o", "bpf/objects/aarch64.bpf.o", "bpf/objects/SOURCES"]
    {
        assert!(listed.lines().any(|line| line == file), "{file} is missing");
    }
}
