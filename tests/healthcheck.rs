//! `bitcointap healthcheck`, the health check of the image, against a real `export`.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::tool::{Exporter, bitcointap, output};

#[track_caller]
fn assert_is_well(address: &str) {
    let checked = output(&format!("healthcheck {address}"));
    assert!(checked.status.success() && checked.stdout.is_empty() && checked.stderr.is_empty(), "{checked:?}");
}

#[test]
fn an_exporter_without_a_node_is_well_and_one_that_has_ended_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("unix:{}", directory.path().join("socket").display());
    let exporter = Exporter::start_waiting(&format!("--datadir /no/where --web.listen-address {file}"));
    let address = exporter.address.clone();
    let port = address.rsplit(':').next().unwrap();
    for address in [&address, &format!(":{port}"), &format!("localhost:{port}"), &file] {
        assert_is_well(address);
    }
    exporter.stop();
    let checked = output(&format!("healthcheck {address}"));
    assert_eq!(checked.status.code(), Some(1));
    let words = String::from_utf8(checked.stderr).unwrap();
    assert!(words.starts_with(&format!("bitcointap: {address} does not answer: Connection refused")), "{words}");
    assert_eq!(output("healthcheck nonsense").status.code(), Some(2));
}

#[test]
fn one_that_asks_for_tls_or_a_password_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    // Nobody guesses her password here.
    let users = "basic_auth_users:\n  alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n";
    let tls = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
    for (name, text) in [
        ("server.crt", cert.pem()),
        ("server.key", signing_key.serialize_pem()),
        ("users.yml", users.to_owned()),
        ("tls.yml", tls.to_owned()),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    for config in ["users.yml", "tls.yml"] {
        let file = directory.path().join(config);
        let arguments = format!("--datadir /no/where --web.config.file {}", file.display());
        let exporter = Exporter::start_by(bitcointap, &arguments, "waiting for a node");
        assert_is_well(&exporter.address);
        exporter.stop();
    }
}
