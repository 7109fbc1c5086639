//! Logins and TLS, at the publisher and at a bitcointap that reads.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::{
    recording::{EVENTS, publish},
    server::{Server, old_server, servers},
    source::Reader,
};
use crate::tool::{Attached, bitcointap};

/// Files with secrets, and the configuration of a server that knows them: it wants certificates and passwords.
struct Secrets(TempDir);

impl Secrets {
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let authority = || {
            let mut params = CertificateParams::new([]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (known, unknown) = (authority(), authority());
        write("ca.crt", &known.pem());
        for (name, issuer) in [("server", &known), ("client", &known), ("stranger", &unknown)] {
            let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            write(&format!("{name}.crt"), &params.signed_by(&key, issuer).unwrap().pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        for user in ["alice", "reader", "other"] {
            write(user, &format!("{user}:secret of {user}\n"));
        }
        write("wrong", "reader:a guess\n");
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn configuration(&self) -> String {
        let [certificate, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|name| self.path(name));
        let permissions = [
            ("alice", r#"publish: ["bitcointap.alice.>"], subscribe: ["bitcointap.alice.confirm.*"]"#),
            ("reader", r#"publish: ["nothing"], subscribe: ["bitcointap.>"]"#),
            ("other", r#"publish: ["nothing"], subscribe: ["bitcointap.bob.>"]"#),
        ];
        let user =
            |(name, rights)| format!("{{ user: {name}, password: \"secret of {name}\", permissions: {{ {rights} }} }}");
        let users = permissions.map(user).join(", ");
        format!(
            "tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true, timeout: 20 }}\n\
             authorization {{ users: [ {users} ] }}\n"
        )
    }

    /// Options with the right certificates.
    fn options(&self, of: &str, user: &str) -> String {
        self.options_with(of, user, "client")
    }

    fn options_with(&self, of: &str, user: &str, certificate: &str) -> String {
        let [certificate, key] = ["crt", "key"].map(|kind| self.path(&format!("{certificate}.{kind}")));
        let (ca, user) = (self.path("ca.crt"), self.path(user));
        format!("--{of}.user-file {user} --{of}.tls-ca {ca} --{of}.tls-cert {certificate} --{of}.tls-key {key}")
    }
}

#[test]
fn with_logins_and_certificates_on_both_sides_all_is_as_without() {
    let secrets = Secrets::make();
    for program in servers() {
        let server = Server::start(&program, &secrets.configuration());
        let url = server.url().replace("nats:", "tls:");
        let reader = Reader::start_at(&url, &secrets.options("source", "reader"));
        let published = publish(&url, "mix --rate 3000 --count 6000", &secrets.options("nats", "alice"), |_| {});
        let (lines, log) = reader.end();
        assert!(lines == published.lines, "{} of {}: {log}", lines.len(), published.lines.len());
        assert!(!log.contains("secret"), "{log}");
        let log = published.exporter.stop();
        assert!(!log.contains("secret"), "{log}");
    }
}

/// One clear line each, and it is tried again.
#[test]
fn what_is_wrong_with_a_source_is_said_in_a_line() {
    let Some(program) = old_server() else { return };
    let secrets = Secrets::make();
    let server = Server::start(&program, &secrets.configuration());
    let open = Server::start(&program, "jetstream { store_dir: \"STORE\" }\n");
    let (url, open) = (server.url().replace("nats:", "tls:"), open.url());
    let options = |user: &str| secrets.options("source", user);
    let without_ca = options("reader").replace(&format!("--source.tls-ca {} ", secrets.path("ca.crt")), "");
    let without_certificate = options("reader").split(" --source.tls-cert").next().unwrap().to_owned();
    for (url, options, words) in [
        (&url, options("wrong"), "authorization violation"),
        (&url, options("nobody"), "cannot read /"),
        (&url, without_ca, "UnknownIssuer"),
        (&url, without_certificate, "certificate"),
        (&url, secrets.options_with("source", "reader", "stranger"), "certificate"),
        (&url, options("other"), "Permissions Violation for Subscription to \\\"bitcointap.alice.recording\\\""),
        (&open, "--source.stream none --start @1".to_owned(), "stream not found"),
    ] {
        let command = bitcointap(&format!("tap --source {url} --node alice {EVENTS} {options}"));
        let mut process = Attached::spawn_until(command, "cannot read from NATS at");
        let said = process.log.lines().last().unwrap().to_lowercase();
        assert!(said.contains(&words.to_lowercase()), "{words}: {}", process.log);
        process.terminate();
        assert!(process.wait().success(), "{}", process.log);
        assert_eq!(process.log.matches("cannot read from NATS").count(), 1, "it is said once: {}", process.log);
        assert!(!process.log.contains("secret") && !process.log.contains("guess"), "{}", process.log);
    }
}
