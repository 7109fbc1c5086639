//! scripts/release: the files it writes the version into, and what it refuses. The release itself needs a run of all
//! tests.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

/// A copy of this work tree, with a history of its own, and something new in its changelog.
struct Tree(TempDir);

impl Tree {
    /// `None` if the tree is not git's.
    fn copied() -> Option<Self> {
        let tree = Self(tempfile::tempdir().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Includes files that are not committed yet.
        let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let listed = Command::new("git").args(list).current_dir(root).output().ok().filter(|it| it.status.success());
        let Some(listed) = listed else {
            println!("skipped: this is no work tree of git");
            return None;
        };
        for name in String::from_utf8(listed.stdout).unwrap().lines().filter(|name| root.join(name).exists()) {
            let to = tree.0.path().join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(root.join(name), to).unwrap();
        }
        tree.write(
            "CHANGELOG.md",
            "# Changelog\n\n## Unreleased\n\n- It is new.\n\n## 0.0.1 - 2026-01-01\n\n- First.\n",
        );
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        tree.commit();
        Some(tree)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let names = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
        let output = Command::new("git").args(names).args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "All of it"]);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn release(&self, arguments: &[&str]) -> Output {
        Command::new("scripts/release").args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &str) {
        let output = self.release(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(words) && said.lines().count() == 1, "{output:?}");
    }
}

/// The version in Cargo.toml.
const CURRENT: &str = env!("CARGO_PKG_VERSION");

#[test]
fn it_writes_the_version_wherever_it_stands() {
    let Some(tree) = Tree::copied() else { return };
    let output = tree.release(&["prepare", "98.7.6"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let changed = tree.git(&["diff", "--name-only"]);
    for name in changed.lines() {
        let lines = tree.git(&["diff", "--unified=0", name]);
        let added: Vec<&str> = lines.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).collect();
        let new = |line: &&str| line.contains("98.7.6") || *line == "+";
        assert!(!added.is_empty() && added.iter().all(new), "{name}: {added:?}");
    }
    for name in ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock", "CHANGELOG.md", "Dockerfile", "docker-compose.yml"] {
        assert!(changed.lines().any(|line| line == name), "{name} is as it was: {changed}");
    }
    let package = |name: &str| tree.read(name).contains("name = \"bitcointap\"\nversion = \"98.7.6\"\n");
    assert!(["Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock"].into_iter().all(package));
    // Cargo has nothing to add.
    let mut cargo = Command::new(env!("CARGO"));
    let update = cargo.args(["update", "--workspace", "--locked", "--offline"]).current_dir(tree.0.path()).output();
    let update = update.unwrap();
    assert!(update.status.success(), "{update:?}");
    let images = tree.git(&["grep", "--no-index", "-h", "image: bitcointap", "--", "*compose*.yml"]);
    assert!(images.lines().count() >= 2 && images.lines().all(|line| line.ends_with(":98.7.6")), "{images}");
    let changelog = tree.read("CHANGELOG.md");
    let (before, after) = changelog.split_once("## 98.7.6 - 20").unwrap();
    assert!(before.ends_with("## Unreleased\n\n") && after.contains("\n\n- It is new.\n\n## 0.0.1"), "{changelog}");

    // Nothing is left for a next release.
    tree.refuses(&["prepare", "98.7.7"], "has nothing below \"Unreleased\"");
}

#[test]
fn it_refuses_what_would_be_no_release() {
    let Some(tree) = Tree::copied() else { return };
    let before = tree.git(&["rev-parse", "HEAD"]);
    for wrong in ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3; true"] {
        tree.refuses(&[wrong], "is no version: make release VERSION=");
    }
    tree.refuses(&["0.0.0"], &format!("0.0.0 is older than {CURRENT}"));
    // A candidate comes before its release.
    tree.refuses(&[&format!("{CURRENT}-rc.1")], &format!("is older than {CURRENT}"));
    tree.git(&["tag", "v98.7.6"]);
    tree.refuses(&["98.7.6"], "there is a tag v98.7.6 already");
    tree.write("README.md", "changed");
    tree.refuses(&["98.7.7"], "the work tree has changes");
    tree.git(&["checkout", "--quiet", "README.md"]);
    tree.git(&["checkout", "--quiet", "--detach"]);
    tree.refuses(&["98.7.7"], "no branch is checked out");
    tree.git(&["checkout", "--quiet", "main"]);
    tree.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n- New.\n\n## 98.7.8 - 2026-01-01\n\n- Old.\n");
    tree.commit();
    tree.refuses(&["98.7.8"], "CHANGELOG.md has 98.7.8 already");
    let commits = tree.git(&["rev-list", "--count", "HEAD"]);
    assert_eq!((commits.trim(), tree.git(&["rev-parse", "HEAD^"])), ("2", before));
}
