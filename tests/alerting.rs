//! Alertmanager with the example configurations in prometheus/: alerts of Prometheus' rules, and the test alert of
//! docs/first-hour.md, arrive by mail and at a web server. `make test` puts Alertmanager into target/tools, from
//! Debian's packages; without it these tests say that they were skipped.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    exposition::get,
    node::Simnode,
    prometheus::Prometheus,
    tool::{Exporter, eventually, fetched, free_address},
};

const MAIL: &str = "prometheus/alertmanager-mail.yml";
const WEBHOOK: &str = "prometheus/alertmanager-webhook.yml";
const EXAMPLES: [&str; 3] = [MAIL, WEBHOOK, "prometheus/compose/alertmanager.yml"];

fn program(name: &str) -> Option<PathBuf> {
    fetched(name, "REQUIRE_ALERTMANAGER")
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// What a server received.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<String>>>);

impl Received {
    /// Answers each client with `serve`, which returns what it received. Returns the address.
    fn start(serve: fn(TcpStream) -> Option<String>) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Self::default();
        let messages = received.0.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                messages.lock().unwrap().extend(serve(stream.unwrap()));
            }
        });
        (received, address)
    }

    fn wait_for(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        eventually(what, || self.0.lock().unwrap().iter().any(|message| is_it(message)).then_some(()));
    }
}

/// Receives one request of HTTP; returns its body.
fn web_server(stream: TcpStream) -> Option<String> {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    String::from_utf8(body).ok()
}

/// Receives one mail by SMTP (RFC 5321); returns it, with its headers.
fn mail_server(stream: TcpStream) -> Option<String> {
    let mut writer = &stream;
    writer.write_all(b"220 test\r\n").ok()?;
    let mut mail = None;
    let mut lines = BufReader::new(&stream).lines();
    while let Some(Ok(line)) = lines.next() {
        let answer: &[u8] = match line.split(' ').next().unwrap_or_default() {
            "DATA" => {
                writer.write_all(b"354 go on\r\n").ok()?;
                let data: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".").collect();
                mail = Some(data.join("\n"));
                b"250 taken\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        writer.write_all(answer).ok()?;
        if line == "QUIT" {
            break;
        }
    }
    mail
}

struct Alertmanager {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Alertmanager {
    /// Starts it with an example configuration, changed in these words; it waits for no further alerts.
    fn start(program: &Path, example: &str, differs: [(&str, &str); 1]) -> Self {
        let mut config = read(example);
        for (from, to) in differs.into_iter().chain([("group_wait: 30s", "group_wait: 0s\n  group_interval: 1s")]) {
            assert_eq!(config.matches(from).count(), 1, "{example} has {from} once");
            config = config.replace(from, to);
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("alertmanager.yml");
        fs::write(&file, config).unwrap();
        let address = free_address();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--cluster.listen-address=", "--log.level=error"])
            .stderr(Stdio::null())
            .spawn()
            .expect("Alertmanager starts");
        let alertmanager = Self { child, address, _directory: directory };
        eventually("Alertmanager ready", || get(&alertmanager.address, "/-/ready"));
        alertmanager
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether Alertmanager's JSON has a firing alert with these labels.
fn fires(body: &str, labels: &[(&str, &str)]) -> bool {
    let body: Value = serde_json::from_str(body).unwrap();
    body["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .any(|alert| alert["status"] == "firing" && labels.iter().all(|(name, value)| alert["labels"][*name] == *value))
}

/// The test alert of the page, sent to an Alertmanager elsewhere.
fn test_alert(address: &str) -> Command {
    let page = read("docs/first-hour.md");
    let command =
        page.lines().map(str::trim).find(|line| line.starts_with("amtool alert add ")).expect("the page has it");
    let elsewhere = command.replace("http://127.0.0.1:9093", &format!("http://{address}"));
    assert_ne!(elsewhere, command);
    let mut words = elsewhere.split(' ');
    let mut command = Command::new(program(words.next().unwrap()).expect("it comes with Alertmanager"));
    command.args(words);
    command
}

#[test]
fn alerts_arrive_by_mail_and_at_a_web_server() {
    let Some(alertmanager) = program("prometheus-alertmanager") else { return };
    let (mails, smarthost) = Received::start(mail_server);
    let (posts, url) = Received::start(web_server);
    let by_mail =
        Alertmanager::start(&alertmanager, MAIL, [("smarthost: localhost:25\n", &format!("smarthost: {smarthost}\n"))]);
    let by_web = Alertmanager::start(&alertmanager, WEBHOOK, [("127.0.0.1:8080", &url)]);

    for address in [&by_mail.address, &by_web.address] {
        let sent = test_alert(address).output().unwrap();
        assert!(sent.status.success(), "{sent:?}");
    }
    mails.wait_for("a mail of the test alert", |mail| mail.contains("Subject: ") && mail.contains("TestAlert"));
    posts.wait_for("a post of the test alert", |body| fires(body, &[("alertname", "TestAlert")]));

    // A node that ends. The rule has no wait of five minutes here.
    let node = Simnode::start("v31", "--scenario mix --rate 100 --count 1000000");
    let exporter = Exporter::start(&format!("--pid {}", node.pid()));
    let prometheuses = Prometheus::start_with_example(&exporter.address, &[&by_mail.address, &by_web.address]);
    drop(node);
    for (line, _prometheus) in &prometheuses {
        let labels = [("alertname", "BitcointapNotAttached"), ("instance", &exporter.address), ("prometheus", line)];
        posts.wait_for("a post", |body| fires(body, &labels));
        mails.wait_for("a mail", |mail| mail.contains("BitcointapNotAttached") && mail.contains(&exporter.address));
    }
    exporter.stop();
}

#[test]
fn amtool_accepts_the_examples() {
    let Some(amtool) = program("amtool") else { return };
    for example in EXAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(example);
        let checked = Command::new(&amtool).arg("check-config").arg(path).output().unwrap();
        assert!(checked.status.success(), "{example}: {checked:?}");
    }
}

#[derive(Deserialize)]
struct Configuration {
    receivers: Vec<Receiver>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Receiver {
    name: String,
}

#[test]
fn the_examples_differ_in_the_receiver_only() {
    let configurations = EXAMPLES.map(|example| serde_saphyr::from_str::<Configuration>(&read(example)).unwrap());
    for configuration in &configurations {
        let names: Vec<&str> = configuration.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        assert_eq!(names, [configuration.rest["route"]["receiver"].as_str().unwrap()]);
        assert_eq!(configuration.rest, configurations[0].rest);
    }
}
