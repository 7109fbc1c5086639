//! A server with a web configuration file. In: the file, certificates, and clients that ask over real sockets. Out: who is let in:
//! here by a password and at which rate; by TLS, by a file that changed, and by what stands in it in files of their own.

mod changes;
mod contents;
mod tls;

use std::{fs, path::PathBuf};

use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned, SupportedProtocolVersion,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::TLS13,
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
fn passwords_guard_all_pages() {
    let files = Files::new(&format!(
        "{}http_server_config:\n  headers:\n    X-Frame-Options: deny\n",
        users(&[("alice", "secret")])
    ));
    let Running { address, registry, .. } = files.serve(LIMITS);
    for path in ["/metrics", "/events", "/recording", "/", "/-/healthy", "/-/ready", "/nothing"] {
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
