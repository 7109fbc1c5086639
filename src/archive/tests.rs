//! A directory is filled, and nothing that others have put there is touched.

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::*;

const OURS: &str = "ours\n";

fn kind() -> Kind {
    let is_one = |file: &mut dyn Read| {
        let mut beginning = [0; OURS.len()];
        file.read_exact(&mut beginning).is_ok() && beginning == OURS.as_bytes()
    };
    let mend = |file: &File| file.write_all_at(b"mended", file.metadata()?.len());
    Kind { a_file: "one of ours", ending: ".ours", is_one, mend }
}

fn open(directory: &TempDir, keep: Option<&str>) -> Result<Archive, String> {
    let mut archive = Archive::open(directory.path(), kind(), keep.map(|keep| keep.parse().unwrap()))?;
    archive.wait();
    Ok(archive)
}

/// Writes a file of one of ours' first bytes and so many more.
fn write(archive: &mut Archive, bytes: usize) {
    let mut part = archive.begin().unwrap();
    part.append(OURS.as_bytes()).unwrap();
    part.append(&vec![b'x'; bytes]).unwrap();
    archive.finish(part);
    archive.wait();
}

fn names(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_file_has_its_final_name_when_it_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = open(&directory, None).unwrap();
    assert!(!archive.has_earlier() && !archive.is_storing());
    let mut part = archive.begin().unwrap();
    let [name] = <[_; 1]>::try_from(names(&directory)).unwrap();
    let complete = name.strip_suffix(".part").unwrap();
    assert!(Name::of_part(&name, ".ours").is_some(), "{name}");
    part.append(b"ours\n1").unwrap();
    assert_eq!((part.length(), fs::read(directory.path().join(&name)).unwrap()), (6, b"ours\n1".into()));
    part.cut(5).unwrap();
    part.append(b"2").unwrap();
    // Somebody takes the name meanwhile.
    fs::write(directory.path().join(complete), "theirs").unwrap();
    archive.finish(part);
    archive.wait();
    let next = complete.replace(".ours", "-1.ours");
    assert_eq!(names(&directory), [next.clone(), complete.into()]);
    assert_eq!(fs::read(directory.path().join(next)).unwrap(), b"ours\n2");
    assert_eq!(archive.tally().files(), Files { kept: 1, bytes: 6, removed: 0 });
    // One that nothing was written to leaves no trace.
    let part = archive.begin().unwrap();
    archive.discard(&part);
    assert_eq!(names(&directory).len(), 2);
    drop(archive);
    assert!(open(&directory, None).unwrap().has_earlier());
}

#[test]
fn files_of_one_second_are_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = open(&directory, None).unwrap();
    let mut begun = Vec::new();
    for _ in 0..30 {
        let part = archive.begin().unwrap();
        begun.push(part.name());
        archive.finish(part);
    }
    assert!(begun.is_sorted_by(|a, b| a < b), "{begun:?}");
}

#[test]
fn the_oldest_are_removed_and_nothing_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // All are older than what follows.
    fs::write(path("20200101T000000Z.ours"), "theirs\n".repeat(10_000)).unwrap();
    fs::write(path("20200102T000000Z.ours"), "").unwrap();
    fs::write(path("20200103T000000Z.other"), OURS).unwrap();
    fs::write(path("20200104T000000Z.ours.part"), "theirs").unwrap();
    fs::write(path("2020-01-05T00:00:00Z.ours"), OURS.repeat(10_000)).unwrap();
    fs::write(path("elsewhere"), OURS.repeat(10_000)).unwrap();
    symlink(path("elsewhere"), path("20200106T000000Z.ours")).unwrap();
    fs::create_dir(path("20200107T000000Z.ours")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(path("20200109T000000Z.ours")).unwrap();
    let before = names(&directory);
    fs::write(path("20200108T000000Z.ours"), OURS).unwrap();

    let mut archive = open(&directory, Some("1d,3KiB")).unwrap();
    assert!(archive.has_earlier());
    // It is the newest.
    assert_eq!(archive.tally().files(), Files { kept: 1, bytes: 5, removed: 0 });
    for _ in 0..4 {
        write(&mut archive, 1_000);
    }
    // By its age, and by the size of all.
    assert_eq!(archive.tally().files(), Files { kept: 3, bytes: 3_015, removed: 2 });
    let after = names(&directory);
    assert_eq!(after.len(), before.len() + 3);
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    assert!(!after.contains(&"20200108T000000Z.ours".into()));
    drop(socket);
}

#[test]
fn what_a_crash_has_left_is_completed_and_nothing_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("20200101T000000Z.ours.part"), OURS).unwrap();
    fs::write(path("20200102T000000Z-3.ours.part"), "ours\nand more ").unwrap();
    fs::write(path("20200102T000000Z-3.ours"), OURS).unwrap();
    let strangers =
        ["20200103T000000Z.ours.part", "20200104T000000Z.other.part", "x.ours.part", "20200106T000000Z.ours.part.part"];
    strangers.iter().for_each(|name| fs::write(path(name), "theirs").unwrap());
    symlink(path("elsewhere"), path("20200105T000000Z.ours.part")).unwrap();
    fs::write(path("elsewhere"), OURS).unwrap();
    let archive = open(&directory, None).unwrap();
    assert!(archive.has_earlier());
    let text = |name: &str| fs::read_to_string(path(name)).unwrap();
    assert_eq!(text("20200101T000000Z.ours"), "ours\nmended");
    assert_eq!(text("20200102T000000Z-4.ours"), "ours\nand more mended");
    assert_eq!(text("20200102T000000Z-3.ours"), OURS);
    assert_eq!(text("elsewhere"), OURS);
    assert!(strangers.iter().all(|name| text(name) == "theirs"));
    assert_eq!(archive.tally().files().kept, 3);
    assert_eq!(names(&directory).len(), 9);
}

#[test]
fn one_at_a_time_writes_into_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    // As another process does.
    let other = File::open(directory.path()).unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = open(&directory, None).unwrap_err();
    assert!(refused.starts_with("another bitcointap writes into this directory"), "{refused}");
    drop(other);

    // An output that begins again with other options comes before the old one has ended.
    let mut old = open(&directory, None).unwrap();
    let mut part = old.begin().unwrap();
    part.append(OURS.as_bytes()).unwrap();
    let mut new = open(&directory, None).unwrap();
    assert_eq!(new.begin().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    old.finish(part);
    old.wait();
    drop(old);
    write(&mut new, 1);
    let names = names(&directory);
    assert_eq!(names.iter().filter(|name| name.ends_with(".ours")).count(), 2, "{names:?}");
    assert!(names.iter().all(|name| fs::read_to_string(directory.path().join(name)).unwrap() != "ours\nmended"));
}

#[test]
fn files_are_stored_even_if_their_archive_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut archive = open(&directory, None).unwrap();
    let mut part = archive.begin().unwrap();
    part.append(OURS.as_bytes()).unwrap();
    archive.finish(part);
    drop(archive);
    wait_until_stored();
    assert!(names(&directory)[0].ends_with(".ours"));
    assert!(open(&directory, None).is_ok());
}

#[test]
fn a_directory_is_made_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| Archive::open(path, kind(), None);
    let inner = directory.path().join("inner");
    let mut archive = open(&inner).unwrap();
    fs::remove_dir(&inner).unwrap();
    write(&mut archive, 1);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    for (path, words) in [
        (directory.path().join("missing/inner"), "cannot make the directory: the one that it is in must exist"),
        ("/dev/null".into(), "it is no directory: name one, or one that does not exist yet"),
    ] {
        assert_eq!(open(&path).unwrap_err(), words);
        assert!(Archive::check(&path).is_err());
    }
    assert_eq!([inner, directory.path().join("new")].map(|path| Archive::check(&path)), [Ok(()), Ok(())]);
    assert!(!directory.path().join("new").exists());
}
