//! HTTP clients that mean harm, over real sockets and up to the limits, while a simulated node fires. Everything is
//! counted, harmless clients get each answer, and the tool holds no more than it may. The library's own tests check
//! answers to single requests.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    iter,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bitcointap::http::MAX_CONNECTIONS;
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd, generate_simple_self_signed,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring, pki_types::PrivateKeyDer,
};

use crate::{
    exposition::Exposition,
    node::Simnode,
    tool::{Exporter, PATIENCE, all_counted, entries, eventually, memory},
};

/// How many connections to hold at once.
const CROWD: usize = 2_000;
/// The memory that the tool may take for all of them, and for streams that nobody reads.
const MAX_GROWTH_KIB: u64 = 96 << 10;

/// The server accepts a connection before it closes another for it. Meanwhile a scrape reads /proc and a handshake the
/// certificate.
const MAX_OTHER_DESCRIPTORS: usize = 8;

/// What a client does until the node has fired everything; returns how often.
type Harm = fn(&Server, &AtomicBool) -> usize;

/// The tool, for a client that knows how to ask it.
struct Server {
    exporter: Exporter,
    tls: Option<Arc<ClientConfig>>,
    authorization: String,
}

trait Socket: Read + Write {}
impl<S: Read + Write> Socket for S {}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.exporter.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// All answers to requests; the last one ends the connection.
    fn answers(&self, requests: &str) -> io::Result<String> {
        let mut stream: Box<dyn Socket> = match &self.tls {
            None => Box::new(self.connect()),
            Some(client) => {
                let client = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
                Box::new(StreamOwned::new(client, self.connect()))
            }
        };
        stream.write_all(requests.as_bytes())?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers)?;
        Ok(answers)
    }

    /// As a harmless client.
    fn scrape(&self) -> io::Result<Exposition> {
        let answer = self.answers(&request("1.0", &self.authorization))?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        assert!(head.starts_with("HTTP/1.0 200 "), "{answer}");
        Ok(Exposition::parse(body))
    }

    /// Connections that send nothing, or half a word, or have had their answer.
    fn crowd(&self) -> Vec<TcpStream> {
        let said = ["", "GET /metrics HTTP/1.1\r\nX: ", "GET /-/healthy HTTP/1.1\r\nX: y\r\n\r\n", "\x16\x03\x01\x02"];
        let connections = said.iter().cycle().take(CROWD).map(|said| {
            let mut stream = self.connect();
            // The server may have closed it by now.
            let _ = stream.write_all(said.as_bytes());
            stream.set_nonblocking(true).unwrap();
            stream
        });
        connections.collect()
    }

    /// A crowd sends a byte each second, and clients do harm, while a node fires everything. Returns how often a
    /// harmless client got no answer.
    fn withstands(tls: Option<Arc<ClientConfig>>, authorization: String, arguments: &str, harms: &[Harm]) -> usize {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let begun = Instant::now();
        let mut node = Simnode::start("v31", "--scenario mix --rate 4000 --count 20000 --linger");
        let exporter = Exporter::start(&format!("--pid {} --events all {arguments}", node.pid()));
        let pid = exporter.process.pid();
        let server = Self { exporter, tls, authorization };
        server.scrape().unwrap();
        let before = (entries(pid, "fd"), memory(pid));

        let mut crowd = server.crowd();
        let has_fired = AtomicBool::new(false);
        let (tally, (answered, refused, most)) = thread::scope(|scope| {
            let harms: Vec<_> = harms.iter().map(|harm| scope.spawn(|| harm(&server, &has_fired))).collect();
            scope.spawn(|| {
                while !has_fired.load(Relaxed) {
                    for stream in &mut crowd {
                        let _ = stream.write(b"x");
                    }
                    thread::sleep(Duration::from_secs(1));
                }
            });
            let scraped = scope.spawn(|| {
                let (mut answered, mut refused, mut most) = (0, 0, before);
                while !has_fired.load(Relaxed) {
                    *if server.scrape().is_ok() { &mut answered } else { &mut refused } += 1;
                    most = (most.0.max(entries(pid, "fd")), most.1.max(memory(pid)));
                    thread::sleep(Duration::from_millis(50));
                }
                (answered, refused, most)
            });
            node.fire();
            let tally = node.read_tally();
            has_fired.store(true, Relaxed);
            let done: Vec<usize> = harms.into_iter().map(|harm| harm.join().unwrap()).collect();
            println!("harm done so often: {done:?}");
            (tally, scraped.join().unwrap())
        });
        println!("{answered} scrapes answered, {refused} not; descriptors and KiB: {before:?}, then {most:?}");
        drop(crowd);

        let fired: u64 = tally.tracepoints().values().sum();
        let metrics = all_counted(&tally, || server.scrape().ok());
        assert_eq!(metrics.sum("events_lost_total", &[]), 0.0);
        assert_eq!(metrics.sum("event_delay_seconds_count", &[]), fired as f64);
        assert!(answered > 0);
        assert!(most.0 <= before.0 + MAX_CONNECTIONS + MAX_OTHER_DESCRIPTORS, "{most:?} after {before:?}");
        assert!(most.1 <= before.1 + MAX_GROWTH_KIB, "{most:?} after {before:?}");
        eventually("as many descriptors as before", || (entries(pid, "fd") <= before.0).then_some(()));
        let log = server.exporter.stop();
        // Lines of the start and the end, and one each second, whatever clients do.
        assert!(log.lines().count() as u64 <= 20 + begun.elapsed().as_secs(), "{log}");
        refused
    }
}

/// Sends requests without an end, in each place where an end could be missing.
fn endless(server: &Server, has_fired: &AtomicBool) -> usize {
    let begun = [
        "G",
        "GET /",
        "GET / HTTP/1.1\r\nX: ",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let mut number = 0;
    while !has_fired.load(Relaxed) {
        let mut stream = server.connect();
        let _ = stream.write_all(begun[number % begun.len()].as_bytes());
        let more = if number % 2 == 0 { "x" } else { "X: y\r\n" }.repeat(4096);
        let mut sent = 0;
        while stream.write_all(more.as_bytes()).is_ok() {
            sent += more.len();
            assert!(sent < 64 << 20, "it goes on after {:?}", begun[number % begun.len()]);
        }
        number += 1;
    }
    number
}

/// Sends something that is no request, with requests behind it.
fn garbage(server: &Server, has_fired: &AtomicBool) -> usize {
    let mut random = fastrand::Rng::with_seed(8);
    let mut number = 0;
    while !has_fired.load(Relaxed) {
        let mut bytes = vec![0; random.usize(1..10_000)];
        random.fill(&mut bytes);
        let mut stream = server.connect();
        let valid = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(random.usize(..20));
        let _ = stream.write_all(&[valid.as_bytes(), &bytes, valid.as_bytes()].concat());
        number += 1;
    }
    number
}

/// Asks for more than anybody could read, and reads nothing.
fn deaf(server: &Server, has_fired: &AtomicBool) -> usize {
    let mut number = 0;
    while !has_fired.load(Relaxed) {
        let asked = [
            "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000),
            "GET /events HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        ];
        let held: Vec<_> = (0..2 * MAX_CONNECTIONS)
            .map(|n| {
                let mut stream = server.connect();
                stream.set_nonblocking(true).unwrap();
                let _ = stream.write(asked[n % asked.len()].as_bytes());
                stream
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        number += held.len();
    }
    number
}

/// Guesses passwords, several on each connection.
fn guesses(server: &Server, has_fired: &AtomicBool) -> usize {
    let mut random = fastrand::Rng::new();
    let mut number = 0;
    while !has_fired.load(Relaxed) {
        let guess = |version| request(version, &basic("alice", &random.u64(..).to_string()));
        let guesses: String = iter::repeat_n("1.1", 20).chain(["1.0"]).map(guess).collect();
        // Its connection may have made room for another.
        let Ok(answers) = server.answers(&guesses) else { continue };
        for status in answers.lines().filter(|line| line.starts_with("HTTP/")) {
            assert!(status.ends_with("401 Unauthorized") || status.ends_with("503 Service Unavailable"), "{answers}");
            number += 1;
        }
    }
    number
}

fn request(version: &str, authorization: &str) -> String {
    format!("GET /metrics HTTP/{version}\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

#[test]
fn a_crowd_that_waits_keeps_nobody_out() {
    let refused = Server::withstands(None, String::new(), "", &[]);
    assert_eq!(refused, 0);
}

#[test]
fn requests_without_an_end_and_answers_that_nobody_reads_hold_up_nobody() {
    Server::withstands(None, String::new(), "", &[endless, endless, garbage, garbage, deaf]);
}

#[test]
fn neither_plain_text_nor_half_a_handshake_nor_wrong_passwords_keep_out_who_knows_the_right_one() {
    let directory = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let hash = bcrypt::hash("secret", 4).unwrap();
    for (name, text) in [
        ("server.crt", cert.pem()),
        ("server.key", signing_key.serialize_pem()),
        (
            "web.yml",
            format!(
                "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\nbasic_auth_users:\n  alice: {hash}\n"
            ),
        ),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let arguments = format!("--web.config.file {}", directory.path().join("web.yml").display());
    let harms: Vec<Harm> = [vec![endless as Harm, garbage], vec![guesses as Harm; 8]].concat();
    Server::withstands(Some(Arc::new(client)), basic("alice", "secret"), &arguments, &harms);
}

#[test]
fn clients_that_tls_refuses_are_told_of_by_cause_and_few_lines() {
    const TRIES: usize = 20;
    let directory = tempfile::tempdir().unwrap();
    let ca = |name: &str| {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (authority, stranger) = (ca("authority"), ca("stranger"));
    // Names that clients choose: the log must contain none of this.
    let text = "level=error client chose this";
    let signed = |issuer: &CertifiedIssuer<'_, KeyPair>, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, text);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, issuer).unwrap(), key)
    };
    let (own, own_key) = signed(&authority, &|_| {});
    for (name, text) in [
        ("server.crt", own.pem()),
        ("server.key", own_key.serialize_pem()),
        ("clients.crt", authority.pem()),
        (
            "web.yml",
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  \
             client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n  \
             client_allowed_sans: [prometheus.example]\n"
                .to_owned(),
        ),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let node = Simnode::start("v31", "");
    let arguments = format!("--pid {} --web.config.file {}", node.pid(), directory.path().join("web.yml").display());
    let exporter = Exporter::start(&arguments);
    let handshake = |trusted: &CertifiedIssuer<'_, KeyPair>, identity: Option<&(rcgen::Certificate, KeyPair)>| {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let client = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        let client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(&exporter.address).unwrap());
        let _ = stream.write_all(b"GET /-/healthy HTTP/1.0\r\n\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.starts_with("HTTP/1.0 200"), "{answer}");
    };
    let expired = |it: &mut CertificateParams| it.not_after = date_time_ymd(2020, 1, 1);
    let for_servers = |it: &mut CertificateParams| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let is_ca = |it: &mut CertificateParams| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for identity in [
        None,
        Some(signed(&authority, &expired)),
        Some(signed(&stranger, &|_| {})),
        Some(signed(&authority, &|_| {})),
        Some(signed(&authority, &for_servers)),
        Some(signed(&authority, &is_ca)),
    ] {
        (0..TRIES).for_each(|_| handshake(&authority, identity.as_ref()));
    }
    (0..TRIES).for_each(|_| handshake(&stranger, None));
    let mut noise = TcpStream::connect(&exporter.address).unwrap();
    noise.write_all(b"\x16\x03\x01\x00\x05noise").unwrap();
    let _ = noise.read(&mut [0]);

    let log = exporter.stop();
    for words in [
        "a TLS client was refused: it sent no certificate, which client_auth_type requires",
        "a TLS client was refused: its certificate has expired",
        "a TLS client was refused: its certificate leads to no authority in client_ca",
        "a TLS client was refused: its certificate has none of the names in client_allowed_sans",
        "a TLS client was refused: its certificate is not for clients",
        "a TLS client was refused: its certificate is that of an authority (CA:TRUE)",
        "a TLS client does not accept the certificate of this server: it does not know who signed it",
    ] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
        let first = lines.first().unwrap_or_else(|| panic!("{words}: {log}"));
        assert!(first.contains("level=warn") && first.contains("count=1 client=127.0.0.1"), "{first}");
        // At once, and then one a minute.
        assert!(lines.len() < TRIES / 2, "{log}");
    }
    assert!(!log.contains("client chose this") && !log.contains("noise"), "{log}");
}
