//! A server with a web configuration file: TLS, clients' certificates, passwords, and files that change.

use std::{
    fs,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned, SupportedProtocolVersion,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::*;

/// A directory with a web configuration, that is rewritten as an editor does it: another file, moved there.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn new(config: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("web.yml", config);
        files
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
        self
    }

    /// With a certificate and key for the server.
    pub(super) fn with_certificate(config: &str, authority: &Authority) -> Self {
        let files = Self::new(config);
        files.renew(authority);
        files
    }

    fn renew(&self, authority: &Authority) {
        let (certificate, key) = authority.sign(&[SanType::DnsName("localhost".try_into().unwrap())]);
        self.write("server.crt", &certificate).write("server.key", &key);
    }

    pub(super) fn gate(&self) -> io::Result<Gate> {
        Gate::guarded(&self.path("web.yml"))
    }

    pub(super) fn serve(&self, limits: Limits) -> Running {
        server_at(&["127.0.0.1:0".parse().unwrap()], self.gate().unwrap(), limits, 40)
    }
}

pub(super) const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names and its key, as PEM.
    pub(super) fn sign(&self, names: &[SanType]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = names.to_vec();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A client that trusts this authority.
    fn client(&self, own: Option<&(String, String)>) -> Arc<ClientConfig> {
        self.client_of(&TLS13, |builder| match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }

    pub(super) fn client_of(
        &self,
        version: &'static SupportedProtocolVersion,
        identify: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        Arc::new(identify(builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots)))
    }
}

pub(super) fn secured<S: Read + Write>(stream: S, client: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, S> {
    let connection = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, stream)
}

/// The status of the answer to a request with these fields, or that there was none.
fn https(address: SocketAddr, client: &Arc<ClientConfig>, fields: &str) -> io::Result<u16> {
    try_exchange(secured(connect(address), client), "GET /-/healthy", fields).map(|(head, _)| status(&head))
}

fn http(address: SocketAddr, fields: &str) -> u16 {
    status(&exchange(connect(address), "GET /-/healthy", fields).0)
}

pub(super) fn status(head: &str) -> u16 {
    head[9..12].parse().unwrap()
}

fn users(users: &[(&str, &str)]) -> String {
    let hashed = |(user, password)| format!("  {user}: {}\n", bcrypt::hash(password, 4).unwrap());
    format!("basic_auth_users:\n{}", users.iter().copied().map(hashed).collect::<String>())
}

fn authorization(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

#[test]
fn tls_is_spoken_on_all_sockets_and_who_does_not_speak_it_is_told() {
    let authority = Authority::new();
    let files = Files::with_certificate(TLS, &authority);
    let path = files.path("socket");
    let addresses = ["127.0.0.1:0".parse().unwrap(), Address::Unix(path.clone())];
    let running = server_at(&addresses, files.gate().unwrap(), LIMITS, 40);
    let client = authority.client(None);
    let (head, body) = exchange(secured(connect(running.address), &client), "GET /metrics", "");
    assert!(head.starts_with("http/1.1 200 ok") && body.starts_with(b"# HELP"), "{head}");
    let (head, _) = exchange(secured(UnixStream::connect(&path).unwrap(), &client), "GET /metrics", "");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");

    let (head, body) = ask(running.address, "GET /metrics");
    assert!(head.starts_with("http/1.1 400 bad request") && head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(body, "this is an HTTPS server, and the request came by HTTP: ask for https://\n");
    let (head, _) = exchange(UnixStream::connect(&path).unwrap(), "GET /metrics", "");
    assert!(head.starts_with("http/1.1 400"), "{head}");
    let text = text_of(&running.registry);
    for (code, n) in [(200, 2), (400, 2)] {
        let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"metrics\"}} {n}\n");
        assert!(text.contains(&line), "{line}");
    }

    let mut noise = connect(running.address);
    noise.write_all(b"\x16\x03\x01\x00\x05noise").unwrap();
    let mut answer = Vec::new();
    let _ = noise.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(https(running.address, &Authority::new().client(None), "").ok(), None, "another authority");
}

#[test]
fn a_scrape_by_tls_keeps_its_place_until_it_is_read() {
    let authority = Authority::new();
    let files = Files::with_certificate(TLS, &authority);
    let running = server_at(&["127.0.0.1:0".parse().unwrap()], files.gate().unwrap(), LIMITS, 1);
    fill(&running.registry);
    let client = authority.client(None);
    let _slow = begin_to_read(secured(connect(running.address), &client), "1.1");
    let (head, _) = exchange(secured(connect(running.address), &client), "GET /metrics", "");
    assert!(head.starts_with("http/1.1 503"), "{head}");
}

#[test]
fn the_url_has_the_scheme() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.tcp_address().unwrap();
    let files = Files::with_certificate(TLS, &Authority::new());
    assert_eq!(listener.url(files.gate().unwrap().has_tls(), "/metrics"), format!("https://{address}/metrics"));
    let files = Files::new(&users(&[("alice", "secret")]));
    assert_eq!(listener.url(files.gate().unwrap().has_tls(), "/"), format!("http://{address}/"));
}

#[test]
fn half_a_handshake_is_cut_off_like_half_a_head() {
    let authority = Authority::new();
    let files = Files::with_certificate(TLS, &authority);
    let running = files.serve(Limits { head: Duration::from_millis(300), ..LIMITS });
    let begun = Instant::now();
    let mut half_open = connect(running.address);
    half_open.write_all(b"\x16\x03\x01").unwrap();
    let silent = connect(running.address);
    assert_closed(half_open);
    assert_closed(silent);
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn clients_certificates_are_asked_for_as_configured() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let of_ours = clients.sign(&[]);
    let of_others = Authority::new().sign(&[]);
    // Who is let in: without a certificate, with one of another authority, with one of the configured authority.
    for (mode, expected) in [
        ("NoClientCert", [true, true, true]),
        ("RequestClientCert", [true, true, true]),
        ("RequireAnyClientCert", [false, true, true]),
        ("RequireClientCert", [false, true, true]),
        ("VerifyClientCertIfGiven", [true, false, true]),
        ("RequireAndVerifyClientCert", [false, false, true]),
    ] {
        let mut config = format!("{TLS}  client_auth_type: {mode}\n");
        if mode.contains("Verify") {
            config += "  client_ca_file: clients.crt\n";
        }
        let files = Files::with_certificate(&config, &authority);
        files.write("clients.crt", &clients.0.pem());
        let running = files.serve(LIMITS);
        let identities = [None, Some(&of_others), Some(&of_ours)];
        let let_in = identities.map(|own| https(running.address, &authority.client(own), "").is_ok());
        assert_eq!(let_in, expected, "{mode}");
    }
}

#[test]
fn a_certificate_without_its_key_is_nothing() {
    let authority = Authority::new();
    let (certificate, _) = authority.sign(&[]);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap();
    let stolen = CertifiedKey::new(chain, ring::sign::any_supported_type(&key).unwrap());
    for version in [&TLS12, &TLS13] {
        let files = Files::with_certificate(&format!("{TLS}  client_auth_type: RequireAnyClientCert\n"), &authority);
        let running = files.serve(LIMITS);
        let thief = authority.client_of(version, |builder| {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(stolen.clone())))
        });
        assert!(https(running.address, &thief, "").is_err(), "{version:?}");
    }
}

#[test]
fn clients_are_let_in_by_their_names() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let allowed =
        "  client_allowed_sans: [prometheus.example, 192.0.2.7, '2001:db8::7', a@b.example, 'spiffe://c/d']\n";
    let name = |text: &str| text.try_into().unwrap();
    let names = [
        (SanType::DnsName(name("prometheus.example")), true),
        (SanType::IpAddress("192.0.2.7".parse().unwrap()), true),
        (SanType::IpAddress("2001:db8::7".parse().unwrap()), true),
        (SanType::Rfc822Name(name("a@b.example")), true),
        (SanType::URI(name("spiffe://c/d")), true),
        (SanType::DnsName(name("x.prometheus.example")), false),
        (SanType::IpAddress("192.0.2.8".parse().unwrap()), false),
    ];
    for mode in ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] {
        let config = format!("{TLS}  client_auth_type: {mode}\n  client_ca_file: clients.crt\n{allowed}");
        let files = Files::with_certificate(&config, &authority);
        files.write("clients.crt", &clients.0.pem());
        let running = files.serve(LIMITS);
        let let_in = |own: Option<&(String, String)>| https(running.address, &authority.client(own), "").is_ok();
        for (name, expected) in &names {
            assert_eq!(let_in(Some(&clients.sign(std::slice::from_ref(name)))), *expected, "{mode} {name:?}");
        }
        let several = names.iter().rev().take(3).map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert!(let_in(Some(&clients.sign(&several))), "one of several is enough");
        assert!(!let_in(Some(&clients.sign(&[]))), "{mode}: none");
        assert!(!let_in(None), "{mode}: no certificate");
    }
}

#[test]
fn versions_are_those_configured() {
    let authority = Authority::new();
    let files = Files::with_certificate(&format!("{TLS}  min_version: TLS13\n"), &authority);
    let running = files.serve(LIMITS);
    let client = |version| authority.client_of(version, |builder| builder.with_no_client_auth());
    assert!(https(running.address, &client(&TLS12), "").is_err());
    assert_eq!(https(running.address, &client(&TLS13), "").unwrap(), 200);
    files.write("web.yml", &format!("{TLS}  min_version: TLS10\n  max_version: TLS12\n"));
    assert_eq!(https(running.address, &client(&TLS12), "").unwrap(), 200);
    assert!(https(running.address, &client(&TLS13), "").is_err());
}

#[test]
fn passwords_guard_all_pages() {
    let files = Files::new(&format!(
        "{}http_server_config:\n  headers:\n    X-Frame-Options: deny\n",
        users(&[("alice", "secret")])
    ));
    let Running { address, registry, .. } = files.serve(LIMITS);
    for path in ["/metrics", "/events", "/", "/-/healthy", "/-/ready", "/nothing"] {
        let (head, body) = ask(address, &format!("GET {path}"));
        assert!(head.starts_with("http/1.1 401 unauthorized"), "{head}");
        assert!(
            head.contains("\r\nwww-authenticate: basic\r\n") && head.contains("\r\nx-frame-options: deny\r\n"),
            "{head}"
        );
        assert_eq!(body, "this server needs a user and a password\n");
    }
    for wrong in [("alice", "wrong"), ("alice", ""), ("bob", "secret"), ("", "secret")] {
        assert_eq!(http(address, &authorization(wrong.0, wrong.1)), 401, "{wrong:?}");
    }
    let right = authorization("alice", "secret");
    for _ in 0..2 {
        let (head, body) = exchange(connect(address), "GET /metrics", &right);
        assert!(head.starts_with("http/1.1 200 ok") && head.contains("\r\nx-frame-options: deny\r\n"), "{head}");
        assert!(body.starts_with(b"# HELP"));
    }
    let text = text_of(&registry);
    for (path, code, n) in [("metrics", 401, 1), ("metrics", 200, 2), ("healthy", 401, 5), ("other", 401, 1)] {
        let line = format!("bitcointap_http_requests_total{{code=\"{code}\",path=\"{path}\"}} {n}\n");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn a_known_client_scrapes_while_wrong_passwords_wait() {
    // Costly, so that they wait for long.
    let files = Files::new(&format!("basic_auth_users:\n  alice: {}\n", bcrypt::hash("secret", 10).unwrap()));
    let Running { address, .. } = files.serve(LIMITS);
    let right = authorization("alice", "secret");
    assert_eq!(http(address, &right), 200);
    let mut guesses: Vec<TcpStream> = Vec::new();
    for n in 0..40 {
        let mut stream = connect(address);
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", authorization("mallory", &n.to_string())).unwrap();
        guesses.push(stream);
    }
    assert_eq!(http(address, &right), 200);
    // Some found no place to wait in, so others wait still, or were answered only after them. Which ones is not said.
    guesses.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    streams::eventually("some are turned away", || {
        guesses.iter().any(|stream| {
            let mut head = [0; 12];
            let length = stream.peek(&mut head).unwrap_or(0);
            length == head.len() && status(std::str::from_utf8(&head).unwrap()) == 503
        })
    });
}

#[test]
fn requests_over_the_rate_are_refused() {
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let files = Files::new(&format!("rate_limit:\n  interval: 1h\n  burst: 2\n{headers}"));
    let Running { address, .. } = files.serve(LIMITS);
    assert_eq!([(); 3].map(|()| http(address, "")), [200, 200, 429]);
    let (head, _) = ask(address, "GET /metrics");
    assert!(head.starts_with("http/1.1 429") && head.contains("\r\nx-frame-options: deny\r\n"), "{head}");
    files.write("web.yml", "rate_limit:\n  interval: 1ms\n  burst: 1\n");
    assert_eq!(http(address, ""), 200);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(http(address, ""), 200);
}

#[test]
fn changed_passwords_are_in_force_at_once() {
    let files = Files::new(&users(&[("alice", "old")]));
    let Running { address, .. } = files.serve(LIMITS);
    let (old, new, bob) = (authorization("alice", "old"), authorization("alice", "new"), authorization("bob", "b"));
    let statuses = || [&old, &new, &bob, &String::new()].map(|fields| http(address, fields));
    assert_eq!(statuses(), [200, 401, 401, 401]);
    files.write("web.yml", &users(&[("alice", "new"), ("bob", "b")]));
    assert_eq!(statuses(), [401, 200, 200, 401]);
    // In place, with the same length.
    fs::write(files.path("web.yml"), users(&[("alice", "old")])).unwrap();
    assert_eq!(statuses(), [200, 401, 401, 401]);
}

#[test]
fn changed_certificates_are_in_force_at_once() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = Files::with_certificate(TLS, &authority);
    let Running { address, .. } = files.serve(LIMITS);
    let let_in = || [&authority, &other].map(|authority| https(address, &authority.client(None), "").is_ok());
    assert_eq!(let_in(), [true, false]);
    files.renew(&other);
    assert_eq!(let_in(), [false, true]);
    // The authority of clients too.
    let config = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n");
    files.write("clients.crt", &authority.0.pem()).write("web.yml", &config);
    let of_clients = [&authority, &other].map(|authority| authority.sign(&[]));
    let let_in = || of_clients.each_ref().map(|own| https(address, &other.client(Some(own)), "").is_ok());
    assert_eq!(let_in(), [true, false]);
    files.write("clients.crt", &other.0.pem());
    assert_eq!(let_in(), [false, true]);
}

#[test]
fn half_a_file_lets_nobody_in() {
    // As who writes it in place leaves it for a moment: each beginning of it, of lines.
    let half = |text: &str| -> Vec<String> {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        (0..lines.len()).map(|n| lines[..n].concat()).collect()
    };
    let whole =
        format!("http_server_config:\n  headers:\n    X-Frame-Options: deny\n{}", users(&[("alice", "secret")]));
    let files = Files::new("# nobody is kept out\n");
    let Running { address, .. } = files.serve(LIMITS);
    let fields = authorization("alice", "secret");
    assert_eq!(http(address, ""), 200);
    files.write("web.yml", &whole);
    for half in half(&whole) {
        assert_eq!(http(address, &fields), 200);
        files.write("web.yml", &half);
        assert_eq!([http(address, ""), http(address, &fields)], [500, 500], "{half}");
        files.write("web.yml", &whole);
    }

    let (authority, clients) = (Authority::new(), Authority::new());
    let right = clients.sign(&[SanType::DnsName("prometheus.example".try_into().unwrap())]);
    let (none, wrong, right) =
        (authority.client(None), authority.client(Some(&clients.sign(&[]))), authority.client(Some(&right)));
    let whole = format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n  \
         client_allowed_sans:\n  - prometheus.example\n"
    );
    let files = Files::with_certificate(&whole, &authority);
    files.write("clients.crt", &clients.0.pem());
    let Running { address, .. } = files.serve(LIMITS);
    for half in half(&whole) {
        files.write("web.yml", &half);
        assert!([&none, &wrong].iter().all(|client| https(address, client, "").is_err()), "{half}");
        files.write("web.yml", &whole);
        assert_eq!(https(address, &right, "").unwrap(), 200);
    }
}

#[test]
fn tls_that_is_configured_later_takes_a_restart_before_anybody_is_let_in() {
    let files = Files::with_certificate("# nobody is kept out\n", &Authority::new());
    let Running { address, .. } = files.serve(LIMITS);
    assert_eq!(http(address, ""), 200);
    files.write("web.yml", TLS);
    assert_eq!(http(address, ""), 500);
}

#[test]
fn no_connection_outlives_the_tls_that_it_was_agreed_on_under() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n");
    for (changed, text) in [
        ("clients.crt", Authority::new().0.pem()),
        ("clients.crt", "no certificate".into()),
        ("web.yml", format!("{config}  client_allowed_sans: [prometheus.example]\n")),
        ("web.yml", String::new()),
    ] {
        let files = Files::with_certificate(&config, &authority);
        files.write("clients.crt", &clients.0.pem());
        let Running { address, .. } = files.serve(LIMITS);
        let mut kept = secured(connect(address), &authority.client(Some(&clients.sign(&[]))));
        for _ in 0..2 {
            kept.write_all(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert!(read_head(&mut kept).starts_with("HTTP/1.1 200"));
        }
        files.write(changed, &text);
        let _ = kept.write_all(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        // Without an answer, so that a client asks again by another connection.
        assert_closed(kept);
    }
}

#[test]
fn while_the_file_is_wrong_nobody_is_let_in() {
    let right = users(&[("alice", "secret")]);
    let files = Files::new(&right);
    let Running { address, registry, .. } = files.serve(LIMITS);
    let fields = authorization("alice", "secret");
    for wrong in ["", " \n", "basic_auth_users: [", "basic_auth_user:\n", "basic_auth_users:\n  alice: secret\n"] {
        assert_eq!(http(address, &fields), 200);
        files.write("web.yml", wrong);
        assert_eq!([http(address, &fields), http(address, "")], [500, 500], "{wrong:?}");
        assert_eq!(assert_status(address, "GET /metrics", 500), "the web configuration is wrong, see the log\n");
        files.write("web.yml", &right);
    }
    fs::remove_file(files.path("web.yml")).unwrap();
    assert_eq!(http(address, &fields), 500);
    files.write("web.yml", &right);
    assert_eq!(http(address, &fields), 200);
    assert!(text_of(&registry).contains("bitcointap_http_requests_total{code=\"500\",path=\"metrics\"} 5\n"));
}

#[test]
fn while_a_certificate_is_wrong_nobody_is_let_in() {
    let authority = Authority::new();
    let files = Files::with_certificate(TLS, &authority);
    let Running { address, .. } = files.serve(LIMITS);
    let client = authority.client(None);
    let assert_shut = |what: &str| {
        assert!(https(address, &client, "").is_err(), "{what}");
        let mut plain = connect(address);
        let _ = plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{what}");
    };
    files.write("server.crt", "no certificate");
    assert_shut("certificate");
    files.renew(&authority);
    assert_eq!(https(address, &client, "").unwrap(), 200);
    files.write("server.key", &KeyPair::generate().unwrap().serialize_pem());
    assert_shut("another's key");
    files.renew(&authority);
    files.write("web.yml", "# no TLS any more\n");
    assert_shut("no TLS");
    files.write("web.yml", "");
    assert_shut("empty");
    files.write("web.yml", TLS);
    assert_eq!(https(address, &client, "").unwrap(), 200);
}

#[test]
fn a_pem_can_stand_in_the_file() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(&[SanType::DnsName("localhost".try_into().unwrap())]);
    let inline = |name: &str, pem: &str| format!("  {name}: |\n    {}\n", pem.trim().replace('\n', "\n    "));
    let config = format!(
        "tls_server_config:\n{}{}{}  client_auth_type: RequireAndVerifyClientCert\n",
        inline("cert", &certificate),
        inline("key", &key),
        inline("client_ca", &authority.0.pem())
    );
    let files = Files::new(&config);
    let Running { address, .. } = files.serve(LIMITS);
    assert_eq!(https(address, &authority.client(Some(&authority.sign(&[]))), "").unwrap(), 200);
    assert!(https(address, &authority.client(None), "").is_err());
}

#[test]
fn an_empty_file_is_no_guard() {
    for empty in ["", "---\n", "# nothing\n", "tls_server_config: {}\n", "tls_server_config:\nbasic_auth_users:\n"] {
        let files = Files::new(empty);
        let Running { address, .. } = files.serve(LIMITS);
        assert_eq!(http(address, ""), 200, "{empty:?}");
    }
}

#[test]
fn a_wrong_file_is_told_at_the_start() {
    let authority = Authority::new();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let files = Files::with_certificate("", &authority);
    files.write("empty", "").write("junk", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let dir = files.0.path().display();
    let tls = |rest: &str| format!("{TLS}  {rest}\n");
    for (config, words) in [
        ("tls_server_confg: {}".to_owned(), "unknown field `tls_server_confg`"),
        ("basic_auth_users: {}\n\nnonsense: 1\n".into(), "line 3"),
        ("tls_server_config:\n  cert_fil: x\n".into(), "unknown field `cert_fil`"),
        ("http_server_config:\n  http3: true\n".into(), "unknown field `http3`"),
        ("http_server_config: {}\nhttp_server_config: {}\n".into(), "duplicate"),
        ("basic_auth_users: [\n".into(), "expected mapping start at line 1, column 19"),
        ("http_server_config:\n  http2: perhaps\n".into(), "bool"),
        ("tls_server_config:\n  key_file: server.key\n".into(), "missing one of cert or cert_file"),
        ("tls_server_config:\n  cert_file: server.crt\n".into(), "missing one of key or key_file"),
        ("tls_server_config:\n  min_version: TLS12\n".into(), "missing one of cert or cert_file"),
        (tls("cert: x"), "has both cert and cert_file: keep one"),
        (tls("client_auth_type: Please"), "client_auth_type: \"Please\" is none of NoClientCert, "),
        (tls("client_ca_file: server.crt"), "client_ca or client_ca_file is given, but client_auth_type verifies no"),
        (tls("client_allowed_sans: [x]"), "client_allowed_sans is given, but client_auth_type verifies no"),
        (
            tls("client_auth_type: RequireAnyClientCert\n  client_ca: x"),
            "client_ca_file is given, but client_auth_type",
        ),
        (tls("client_auth_type: RequestClientCert\n  client_allowed_sans: []"), "client_allowed_sans is given, but"),
        (tls("client_auth_type: RequireAndVerifyClientCert"), "needs client_ca or client_ca_file"),
        (tls("client_auth_type: VerifyClientCertIfGiven"), "needs client_ca or client_ca_file"),
        (tls("min_version: SSL30"), "min_version: \"SSL30\" is none of TLS12, TLS13"),
        (tls("max_version: TLS11"), "max_version: the server does not speak TLS 1.0 and 1.1"),
        (tls("min_version: TLS13\n  max_version: TLS12"), "min_version is above max_version"),
        (tls("cipher_suites: [TLS_NONE]"), "cipher_suites: \"TLS_NONE\" is none of TLS_AES_256_GCM_SHA384, "),
        (tls("curve_preferences: [CurveP521]"), "curve_preferences: \"CurveP521\" is none of X25519, "),
        (TLS.replace("server.crt", "none.crt"), "cert_file: cannot read {dir}/none.crt: No such file"),
        (TLS.replace("server.crt", "empty"), "cert_file: {dir}/empty is empty"),
        (TLS.replace("server.crt", "junk"), "cert_file: {dir}/junk has a certificate that is cut off or broken"),
        (TLS.replace("server.key", "none.key"), "key_file: cannot read {dir}/none.key: No such file"),
        (TLS.replace("server.key", "server.crt"), "key_file: {dir}/server.crt has CERTIFICATE, but no private key"),
        (TLS.replace("server.key", "other.key"), "key_file: {dir}/other.key do not go together: the key is of another"),
        (TLS.replace("server.key", "."), "key_file: cannot read {dir}/.: it is a directory"),
        (
            tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty"),
            "client_ca_file: {dir}/empty is empty",
        ),
        ("http_server_config:\n  headers:\n    Server: x\n".into(), "HTTP header \"Server\" can not be configured"),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n".into(),
            "invalid value for X-Frame-Options: \"allow\" is none of deny, sameorigin",
        ),
        ("basic_auth_users:\n  alice: secret\n".into(), "the value of user \"alice\" is no bcrypt hash; `htpasswd"),
        (format!("basic_auth_users:\n  alice: {}\n", &hash[..59]), "user \"alice\""),
        (format!("basic_auth_users:\n  alice: {}\n", hash.replace("$04$", "$32$")), "user \"alice\""),
        ("rate_limit:\n  interval: fast\n".into(), "interval is not a duration"),
        ("rate_limit:\n  interval: 1s\n".into(), "burst is 0"),
    ] {
        files.write("web.yml", &config);
        let error = files.gate().expect_err(&config).to_string();
        let words = words.replace("{dir}", &dir.to_string());
        assert!(error.contains(&words), "{config}: {error}");
        assert!(error.starts_with(&format!("the web configuration {dir}/web.yml: ")), "{error}");
        assert!(!error.contains("secret") && !error.contains("$2") && !error.contains('\n'), "{error}");
    }
    let error = Gate::guarded(Path::new("/no/where.yml")).unwrap_err().to_string();
    assert!(error.starts_with("the web configuration /no/where.yml: cannot be read: No such file"), "{error}");
}

#[test]
fn a_right_file_is_taken() {
    let authority = Authority::new();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let config = format!(
        "{TLS}  client_auth_type: \"\"\n  min_version: TLS10\n  max_version: TLS13\n  \
         cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  - TLS_AES_128_GCM_SHA256\n  \
         prefer_server_cipher_suites: false\n  curve_preferences: [CurveP384, CurveP256, X25519]\n\
         http_server_config:\n  http2: false\n  headers:\n    Content-Security-Policy: default-src 'self'\n    \
         X-Frame-Options: sameorigin\n    X-Content-Type-Options: nosniff\n    X-XSS-Protection: ''\n    \
         Strict-Transport-Security: max-age=31536000\nbasic_auth_users:\n  alice: {hash}\n  123: {hash}\n\
         rate_limit:\n  interval: 0s\n"
    );
    let files = Files::with_certificate(&config, &authority);
    let Running { address, .. } = files.serve(LIMITS);
    let fields = authorization("123", "secret");
    let (head, _) = exchange(secured(connect(address), &authority.client(None)), "GET /", &fields);
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("\r\nstrict-transport-security: max-age=31536000\r\n") && !head.contains("x-xss"), "{head}");
}

#[test]
fn a_stream_ends_when_its_reader_would_have_to_be_asked_again() {
    let authority = Authority::new();
    let alice = users(&[("alice", "secret")]);
    let files = Files::with_certificate(&format!("{TLS}{alice}"), &authority);
    let limits = Limits {
        connection: Duration::from_millis(500),
        last_answer: Duration::from_millis(500),
        review: Duration::from_millis(50),
        ..LIMITS
    };
    let Running { address, streams, .. } = files.serve(limits);
    let client = authority.client(None);
    let ask = |password: &str| {
        let mut stream = secured(connect(address), &client);
        let fields = authorization("alice", password);
        write!(stream, "GET /events HTTP/1.1\r\nHost: x\r\n{fields}\r\n").unwrap();
        let head = read_head(&mut stream);
        (head[9..12].parse::<u16>().unwrap(), stream)
    };
    assert_eq!(ask("wrong").0, 401);
    assert_eq!(streams.told().open, 0);

    let write = |config: &str| {
        files.write("web.yml", config);
    };
    for change in [
        // Another password, another certificate, a file that is wrong for a while.
        &(|| write(&format!("{TLS}{}", users(&[("alice", "other")])))) as &dyn Fn(),
        &(|| write(&format!("{TLS}{alice}"))),
        &(|| files.renew(&authority)),
        &(|| write("x")),
    ] {
        let (status, mut stream) = match ask("secret") {
            (401, _) => ask("other"),
            answer => answer,
        };
        assert_eq!(status, 200);
        // As long as nothing changes, it stays.
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(streams.told().open, 1);
        change();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "no whole body");
        streams::eventually("its place is free", || streams.told().open == 0);
    }
}
