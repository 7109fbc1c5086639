//! How the sources are laid out. In: the files that git knows or would add. Out: names of those that are too long, and of modules that
//! import each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::Path,
    process::Command,
};

/// Path and text of each file that is code by hand.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(list).current_dir(root).output().expect("git is there");
    assert!(listed.status.success(), "{listed:?}");
    let read = |path: &str| Some((path.to_owned(), fs::read_to_string(root.join(path)).ok()?));
    let is_code = |(path, text): &(String, String)| {
        let kinds = [".rs", ".c", ".h", ".js", ".mjs", ".css", ".py"];
        !path.starts_with("bpf/objects/") && (kinds.iter().any(|kind| path.ends_with(kind)) || text.starts_with("#!"))
    };
    String::from_utf8(listed.stdout).unwrap().lines().filter_map(read).filter(is_code).collect()
}

#[test]
fn no_file_has_500_lines() {
    let sources = sources();
    let looked_at = |path| sources.iter().any(|(other, _)| other == path);
    assert!(["src/lib.rs", "bpf/net.h", "src/http/live_page/main.js", "scripts/setup"].into_iter().all(looked_at));
    let lines = sources.iter().map(|(path, text)| (path, text.lines().count()));
    let long: Vec<_> = lines.filter(|&(_, lines)| lines >= 500).collect();
    assert!(long.is_empty(), "{long:?}: split each by idea, and say at the top of each part what flows in and out");
}

/// What each module imports, and a file of it that does so.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// The imports of a crate's modules; a folder and its file are one. In: paths below the crate's folder and texts; names that the crate
/// gives to what is in a module.
fn imports(files: &[(&str, &str)], names: &[(&str, &str)]) -> Imports {
    let module = |path: &str| path.split(['/', '.']).next().unwrap().to_owned();
    let is_for_tests = |path: &str| path.split(['/', '.']).any(|it| ["tests", "testing", "fuzzing"].contains(&it));
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module(path)).collect();
    let mut imports = Imports::new();
    for &(path, text) in files.iter().filter(|(path, _)| !["lib.rs", "main.rs"].contains(path) && !is_for_tests(path)) {
        let (mut code, mut lines) = (String::new(), text.lines());
        while let Some(line) = lines.next() {
            if line.ends_with("mod tests {") || line.ends_with("mod fuzzing {") {
                lines.find(|line| *line == "}");
            } else if !line.trim_start().starts_with("//") {
                code += line.trim_start();
            }
        }
        if !path.contains('/') {
            code = code.replace("super::", "crate::");
        }
        for name in named(&code).into_iter().filter(|it| !it.is_empty()) {
            let imported = names.iter().find(|(other, _)| *other == name).map_or(name, |(_, module)| module);
            assert!(modules.contains(imported), "{path}: whose is crate::{name}? Say so in this test");
            if imported != module(path) {
                imports.entry(module(path)).or_default().insert(imported.into(), path.into());
            }
        }
    }
    imports
}

/// The first name after each `crate::`, or all first names in its braces.
fn named(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        let (is_list, mut depth) = (after.starts_with('{'), 0);
        for (at, it) in after.char_indices() {
            depth += i32::from(it == '{') - i32::from(it == '}');
            if !is_list || depth == 1 && ['{', ','].contains(&it) {
                let name = &after[at + usize::from(is_list)..];
                names.push(name.split(|it: char| !it.is_alphanumeric() && it != '_').next().unwrap());
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

/// A line for each import of a circle, if there is one: the shortest way from a module back to it.
fn circle(imports: &Imports) -> Vec<String> {
    for begin in imports.keys() {
        let (mut ways, mut seen) = (VecDeque::from([(begin, Vec::new())]), BTreeSet::new());
        while let Some((from, way)) = ways.pop_front() {
            for (to, file) in imports.get(from).into_iter().flatten() {
                let way = [&way[..], &[format!("{from} imports {to} in {file}")]].concat();
                if to == begin {
                    return way;
                }
                if seen.insert(to) {
                    ways.push_back((to, way));
                }
            }
        }
    }
    Vec::new()
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let sources = sources();
    let in_node = ["process", "probes", "Error"].map(|name| (name, "node"));
    for (folder, names, [from, to]) in
        [("src/", &in_node[..], ["follow", "tap"]), ("src/bin/bitcointap/", &[], ["commands", "arguments"])]
    {
        let files = sources.iter().filter_map(|(path, text)| Some((path.strip_prefix(folder)?, text.as_str())));
        let imports = imports(&files.filter(|(path, _)| !path.starts_with("bin/")).collect::<Vec<_>>(), names);
        assert!(imports[from].contains_key(to), "{folder}: {imports:?}");
        assert!(circle(&imports).is_empty(), "in {folder}: {:#?}", circle(&imports));
    }
}

#[test]
fn circles_are_found_and_those_of_tests_are_none() {
    let files = [
        ("lib.rs", "pub use b::Named;\n"),
        ("a.rs", "use crate::{\n    b::{X, y::Z},\n    c,\n};\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}\n"),
        ("b/y.rs", "fn f() -> crate::c::V {}\n// use crate::a;\n"),
        ("b/y/testing.rs", "use crate::a;"),
    ];
    let found = |path, code| circle(&imports(&[&files[..], &[(path, code)]].concat(), &[("Named", "b")]));
    assert_eq!(found("c.rs", "use crate::c::{a, b};"), [""; 0]);
    for code in ["use crate::{a};", "pub(super) use crate::a::b;", "fn f() { crate::a() }"] {
        assert_eq!(found("c/d.rs", code), ["a imports c in a.rs", "c imports a in c/d.rs"], "{code}");
    }
    assert_eq!(found("c.rs", "use super::a;"), ["a imports c in a.rs", "c imports a in c.rs"]);
    assert_eq!(found("c.rs", "use crate::Named;"), ["b imports c in b/y.rs", "c imports b in c.rs"]);
}
