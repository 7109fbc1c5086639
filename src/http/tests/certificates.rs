//! Certificates and keys that TLS cannot use, or that clients will not take: that the error names why, and what to do. Those that
//! rcgen does not make are in pem/, made by openssl; nobody uses them for anything else.

use std::fs;

use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    super::material::{doubts_of_authority, doubts_of_server},
    web_config::{Authority, Files, TLS},
    *,
};

const VERSION_1: [&str; 2] = [include_str!("pem/version1.crt"), include_str!("pem/version1.key")];
const P521: [&str; 2] = [include_str!("pem/p521.crt"), include_str!("pem/p521.key")];
const RSA1024: [&str; 2] = [include_str!("pem/rsa1024.crt"), include_str!("pem/rsa1024.key")];

/// What is said of a certificate and a key, without the name of the configuration.
fn refused(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> String {
    let files = Files::new(TLS);
    fs::write(files.path("server.crt"), certificate).unwrap();
    fs::write(files.path("server.key"), key).unwrap();
    let error = files.gate().unwrap_err().to_string();
    let directory = files.path("web.yml").parent().unwrap().display().to_string();
    let words = error.split_once("web.yml: ").unwrap().1.replace(&format!("{directory}/"), "");
    assert!(!words.contains('\n'), "{words}");
    words
}

#[track_caller]
fn assert_refused(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>, words: &str) {
    let said = refused(certificate, key);
    assert!(said.starts_with(words), "{said}");
}

#[test]
fn what_tls_does_not_sign_with_is_named_and_what_it_does() {
    let next =
        "It takes ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits: `openssl ecparam -name prime256v1";
    for (key, kind) in [
        (P521[1], "ECDSA on P-521"),
        (include_str!("pem/p521-sec1.key"), "ECDSA on P-521"),
        (RSA1024[1], "RSA of 1024 bits"),
        (include_str!("pem/rsa1024-pkcs1.key"), "RSA of 1024 bits"),
        (include_str!("pem/ed448.key"), "Ed448"),
    ] {
        assert_refused(
            P521[0],
            key,
            &format!("key_file: server.key has a key that TLS here does not sign with ({kind}). {next}"),
        );
    }
}

#[test]
fn a_certificate_of_version_1_is_told() {
    assert_refused(
        VERSION_1[0],
        VERSION_1[1],
        "cert_file: server.crt has a certificate of X.509 version 1, and TLS takes version 3",
    );
}

#[test]
fn a_file_that_is_something_else_is_told_with_what_makes_pem_of_it() {
    let (certificate, key) = (VERSION_1[0], VERSION_1[1]);
    for (crt, words) in [
        (b"".to_vec(), "cert_file: server.crt is empty"),
        (
            include_bytes!("pem/version1.p12").to_vec(),
            "cert_file: server.crt is PKCS #12, not PEM: `openssl pkcs12 -in ",
        ),
        (
            b"\xef\xbb\xbf".iter().chain(certificate.as_bytes()).copied().collect(),
            "cert_file: server.crt begins with a byte order",
        ),
        (certificate.as_bytes()[..200].to_vec(), "cert_file: server.crt has a certificate that is cut off or broken"),
        (key.into(), "cert_file: server.crt has EC PRIVATE KEY, but no CERTIFICATE"),
        (b"what?".to_vec(), "cert_file: server.crt has no certificate as PEM, which begins with"),
        (certificate.replace("CERTIFICATE", "CERTIFICATE REQUEST").into(), "cert_file: server.crt has a request for"),
        (
            certificate.replace("CERTIFICATE", "TRUSTED CERTIFICATE").into(),
            "cert_file: server.crt has a TRUSTED CERTIFICATE",
        ),
    ] {
        assert_refused(crt, key, words);
    }
    let encrypted = "key_file: server.key has an encrypted private key, and nobody can be asked for its passphrase: `openssl pkey -in ";
    for (key, words) in [
        ("", "key_file: server.key is empty"),
        (include_str!("pem/encrypted.key"), encrypted),
        (include_str!("pem/encrypted-sec1.key"), encrypted),
        (certificate, "key_file: server.key has CERTIFICATE, but no private key that is taken"),
        (&key[..100], "key_file: server.key has a private key that is cut off or broken"),
        ("secret", "key_file: server.key has no private key as PEM, which begins with"),
    ] {
        assert_refused(certificate, key, words);
    }
}

#[test]
fn a_key_of_another_and_a_chain_in_the_wrong_order_are_told_apart() {
    let authority = Authority::new();
    let (own, key) = authority.sign(&[SanType::DnsName("localhost".try_into().unwrap())]);
    let (other, _) = authority.sign(&[]);
    assert_refused(
        &other,
        &key,
        "cert_file: server.crt and key_file: server.key do not go together: the key is of another",
    );
    assert_refused(
        other + &own,
        key,
        "cert_file: server.crt has the certificate of the key in place 2: the server's own comes first",
    );
}

#[test]
fn a_der_is_told_with_what_makes_pem_of_it() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
    assert_refused(
        certificate.der(),
        key.serialize_pem(),
        "cert_file: server.crt is DER, not PEM: `openssl x509 -inform DER",
    );
    assert_refused(
        certificate.pem(),
        key.serialize_der(),
        "key_file: server.key is DER, not PEM: `openssl pkey -inform DER",
    );
}

#[test]
fn clients_would_refuse_what_has_expired_is_not_valid_yet_or_names_no_host() {
    let of_names = |names: &[&str], change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    };
    // 2030-01-01.
    let now = Duration::from_secs(1_893_456_000);
    let doubts = |certificate: &rcgen::Certificate| doubts_of_server("cert_file: f", certificate.der(), now);
    assert_eq!(doubts(&of_names(&["localhost", "127.0.0.1"], &|_| {})), None, "rcgen takes an address for one");
    for (certificate, what) in [
        (
            of_names(&["localhost"], &|it| it.not_after = date_time_ymd(2029, 12, 31)),
            "has expired (2029-12-31T00:00:00Z)",
        ),
        (
            of_names(&["localhost"], &|it| it.not_before = date_time_ymd(2030, 1, 2)),
            "is not valid before 2030-01-02T00:00:00Z",
        ),
        (of_names(&[], &|_| {}), "names no host (subjectAltName)"),
        (
            of_names(&["localhost"], &|it| {
                it.subject_alt_names.push(SanType::DnsName("127.0.0.1".try_into().unwrap()))
            }),
            "has the address 127.0.0.1 as the name of a host (subjectAltName=DNS:127.0.0.1, not IP:127.0.0.1)",
        ),
    ] {
        let words = format!("the certificate in cert_file: f {what}: clients such as Prometheus will refuse it");
        assert_eq!(doubts(&certificate), Some(words));
    }
}

#[test]
fn an_authority_whose_signatures_are_not_verified_is_doubted() {
    let doubts =
        |pem: &str| doubts_of_authority("client_ca_file: f", &CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    for ([pem, _], kind) in [(P521, "ECDSA on P-521"), (RSA1024, "RSA of 1024 bits")] {
        let words = doubts(pem).unwrap();
        let start =
            format!("an authority in client_ca_file: f has a key whose signatures TLS here does not verify ({kind}): ");
        assert!(words.starts_with(&start), "{words}");
    }
    assert_eq!(doubts(VERSION_1[0]), None);
}
