//! Where the exporter serves. In: addresses, files of sockets, sockets of systemd, a web configuration. Out: pages there, or the line
//! that says why not.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
};

use super::failure;
use crate::{
    node::Simnode,
    tool::{Attached, Exporter, eventually, output},
};

/// The answer to a request for a page.
fn get(mut stream: impl Read + Write, page: &str) -> String {
    write!(stream, "GET {page} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let node = Simnode::start("v31", "");
    let words = failure(&output(&format!("export --pid {} --web.listen-address {address}", node.pid())));
    assert!(words.contains(&address.to_string()) && words.contains("in use"), "{words}");
    assert!(words.contains("--web.listen-address"), "{words}");
}

#[test]
fn several_addresses_and_a_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let node = Simnode::start("v31", "");
    let arguments = format!("--pid {} --web.listen-address unix:{}", node.pid(), path.display());
    let exporter = Exporter::start(&arguments);
    assert_eq!(exporter.scrape().sum("up", &[]), 1.0);
    let from_file = || get(UnixStream::connect(&path).unwrap(), "/metrics");
    assert!(from_file().contains("\nbitcointap_up 1\n"));
    let words = failure(&output(&format!("export {arguments}")));
    assert!(words.starts_with(&format!("cannot listen on unix:{}: it is in use", path.display())), "{words}");
    assert!(words.contains("--web.listen-address"), "{words}");
    assert!(from_file().starts_with("HTTP/1.0 200"));
    let log = exporter.stop();
    assert!(log.contains("/metrics, unix:"), "{log}");
    assert!(!path.exists());
}

#[test]
fn a_web_configuration() {
    let node = Simnode::start("v31", "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yml");
    let arguments = format!("--pid {} --web.config.file {}", node.pid(), file.display());
    fs::write(&file, "basic_auth_users:\n  alice: secret\n").unwrap();
    let words = failure(&output(&format!("export {arguments} --web.listen-address 127.0.0.1:0")));
    assert!(words.starts_with(&format!("the web configuration {}: basic_auth_users: ", file.display())), "{words}");

    let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
    fs::write(&file, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
    let exporter = Exporter::start(&arguments);
    let answer = get(TcpStream::connect(&exporter.address).unwrap(), "/-/healthy");
    assert!(answer.starts_with("HTTP/1.0 401 Unauthorized"), "{answer}");
    // alice:fakepassword
    let page = "/-/healthy HTTP/1.1\r\nConnection: close\r\nAuthorization: Basic YWxpY2U6ZmFrZXBhc3N3b3Jk\r\nX:";
    let answer = get(TcpStream::connect(&exporter.address).unwrap(), page);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // alice:guess, which the log tells at once, and further ones only with their number, a minute later. Browsers first ask without.
    let page = page.replace("YWxpY2U6ZmFrZXBhc3N3b3Jk", "YWxpY2U6Z3Vlc3M=");
    for _ in 0..3 {
        let answer = get(TcpStream::connect(&exporter.address).unwrap(), &page);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let log = exporter.stop();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("its user or password is wrong")).collect();
    let [line] = lines[..] else { panic!("{log}") };
    assert!(line.contains("level=warn") && line.contains("count=1 client=127.0.0.1"), "{line}");
    assert!(!log.contains("guess") && !log.contains("alice"), "{log}");
}

#[test]
fn sockets_of_systemd() {
    let node = Simnode::start("v31", "");
    let words = failure(&output(&format!("export --pid {} --web.systemd-socket", node.pid())));
    assert!(words.starts_with("systemd has passed no sockets to this process; --web.systemd-socket"), "{words}");

    // As systemd does: from the third file descriptor on, with the process id that the program will have.
    let start = |socket: std::os::fd::OwnedFd| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]);
        command.args([env!("CARGO_BIN_EXE_bitcointap"), "export", "--web.systemd-socket"]);
        command.args(["--pid", &node.pid().to_string()]).stdin(socket);
        command
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut exporter = Attached::spawn(start(listener.into()));
    assert!(get(TcpStream::connect(address).unwrap(), "/metrics").contains("\nbitcointap_up 1\n"));
    exporter.terminate();
    assert!(exporter.wait().success(), "{}", exporter.log);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut exporter = Attached::spawn(start(UnixListener::bind(&path).unwrap().into()));
    assert!(get(UnixStream::connect(&path).unwrap(), "/-/ready").starts_with("HTTP/1.0 200"));
    exporter.terminate();
    assert!(exporter.wait().success(), "{}", exporter.log);
    assert!(path.exists(), "it is systemd's");

    let words = failure(&start(UnixStream::pair().unwrap().0.into()).output().unwrap());
    assert!(words.starts_with("socket 1 of those that systemd has passed is a connection"), "{words}");
    let words = failure(&start(File::open("/dev/null").unwrap().into()).output().unwrap());
    assert!(words.starts_with("socket 1 of those that systemd has passed is no stream socket"), "{words}");
}

#[test]
fn it_is_ready_until_the_node_is_gone() {
    let mut node = Simnode::start("v31", "--count 1");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    let page = |page: &str| get(TcpStream::connect(&exporter.address).unwrap(), page);
    exporter.scrape();
    assert!(page("/-/ready").starts_with("HTTP/1.0 200"));
    node.fire();
    node.tally();
    eventually("not ready", || page("/-/ready").starts_with("HTTP/1.0 503").then_some(()));
    assert!(page("/-/ready").ends_with("the node has ended\n"));
    assert!(page("/-/healthy").starts_with("HTTP/1.0 200"));
}
