//! Files that change while the server runs. In: a web configuration or a certificate, written anew, wrong or by half. Out: who is
//! let in from then on, and which connections and streams end.

use super::*;

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
