//! TLS, and who is let in by a certificate. In: connections with and without TLS, by clients of several authorities. Out: who gets
//! an answer.

use tokio_rustls::rustls::{
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS12,
};

use super::*;

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
