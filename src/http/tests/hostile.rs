//! Requests that nobody sends by mistake.

use ::ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio_rustls::rustls::{ClientConnection, ConnectionTrafficSecrets, StreamOwned, version::TLS12};

use super::{
    web_config::{Authority, Files, TLS, secured, status},
    *,
};

/// Told apart by its status, 503, it is the last of its connection.
const LAST: &[u8] = b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The statuses of all that comes back for these bytes and [`LAST`], until the server ends the connection.
fn statuses(address: SocketAddr, sent: &[u8]) -> Vec<u16> {
    let mut stream = connect(address);
    // It may have ended before all was sent, and then what came is lost with it, or not.
    let _ = stream.write_all(&[sent, LAST].concat());
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let answers = String::from_utf8_lossy(&answers);
    answers.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn each_request_has_its_answer_or_the_connection_ends() {
    let Running { address, registry, .. } = server(LIMITS);
    for (line, expected) in [
        // Other versions.
        ("GET /metrics", &[400][..]),
        ("GET /metrics HTTP/0.9", &[400]),
        ("GET /metrics HTTP/2.0", &[400]),
        ("PRI * HTTP/2.0\r\n\r\nSM", &[]),
        // Other forms of a target, and other methods: nothing is fetched from elsewhere.
        ("GET http://elsewhere.example/metrics HTTP/1.1", &[200, 503]),
        ("GET http://elsewhere.example:1/else HTTP/1.1", &[404, 503]),
        ("CONNECT elsewhere.example:80 HTTP/1.1", &[404, 503]),
        ("OPTIONS * HTTP/1.1", &[404, 503]),
        ("TRACE /metrics HTTP/1.1", &[405, 503]),
        ("get /metrics HTTP/1.1", &[405, 503]),
        ("GET metrics HTTP/1.1", &[404, 503]),
        ("GET  /metrics HTTP/1.1", &[400]),
        // Paths that are files elsewhere, or nearly one of ours.
        ("GET /../../../etc/passwd HTTP/1.1", &[404, 503]),
        ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", &[404, 503]),
        ("GET /..%5c..%5cetc HTTP/1.1", &[404, 503]),
        ("GET /metrics/../metrics HTTP/1.1", &[404, 503]),
        ("GET /metrics/ HTTP/1.1", &[404, 503]),
        ("GET /./metrics HTTP/1.1", &[404, 503]),
        ("GET //metrics HTTP/1.1", &[404, 503]),
        ("GET /%6detrics HTTP/1.1", &[404, 503]),
        ("GET /metrics%00 HTTP/1.1", &[404, 503]),
        ("GET /metrics;a=b HTTP/1.1", &[404, 503]),
        ("GET /metrics\u{a0} HTTP/1.1", &[404, 503]),
        ("GET /metr\0ics HTTP/1.1", &[400]),
        ("GET /metrics?collect[]=%ff%00&name[]=' HTTP/1.1", &[200, 503]),
        ("GET /metrics?name[]=\"<> HTTP/1.1", &[400]),
        ("GET /events?command=%00%ff%0d%0aX:%20y HTTP/1.1", &[400, 503]),
        // Fields.
        ("GET /metrics HTTP/1.1\r\nA: b\0c", &[400]),
        ("GET /metrics HTTP/1.1\r\nA: b\r\n folded", &[400]),
        ("GET /metrics HTTP/1.1\r\nHost : x", &[400]),
        ("GET /metrics HTTP/1.1\r\nno field", &[400]),
        ("GET /-/healthy HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade", &[200, 503]),
        ("GET /-/healthy HTTP/1.1\nHost: x", &[200, 503]),
        // Bodies, which are not waited for: what may be one is not taken for the next request.
        ("GET /-/healthy HTTP/1.1\r\nContent-Length: 1000000000000", &[200]),
        ("GET /-/healthy HTTP/1.1\r\nContent-Length: +5", &[400]),
        ("GET /-/healthy HTTP/1.1\r\nContent-Length: 99999999999999999999999", &[400]),
        ("GET /-/healthy HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6", &[400]),
        ("GET /-/healthy HTTP/1.1\r\nTransfer-Encoding: gzip", &[400]),
        ("GET /-/healthy HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0", &[200]),
        ("GET /-/healthy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff0", &[200]),
        ("POST /-/healthy HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1000", &[405]),
    ] {
        assert_eq!(statuses(address, format!("{line}\r\n\r\n").as_bytes()), expected, "{line:?}");
    }
    let text = text_of(&registry);
    let paths = text.lines().filter(|line| line.starts_with("bitcointap_http_requests_total{"));
    assert!(paths.clone().count() < 100, "no label is what a client has sent:\n{}", paths.collect::<String>());
}

#[test]
fn heads_have_an_end() {
    let Running { address, .. } = server(LIMITS);
    let long = "a".repeat(15 << 10);
    let fits = format!("GET /metrics?{long} HTTP/1.1\r\n\r\n");
    assert_eq!(statuses(address, fits.as_bytes()), [200, 503]);
    let many = "a: b\r\n".repeat(100);
    let fits = format!("GET /metrics HTTP/1.1\r\n{many}\r\n");
    assert_eq!(statuses(address, fits.as_bytes()), [200, 503]);
    for begun in ["GET /", "GET / HTTP/1.1\r\na: ", "GET / HTTP/1.1\r\na", "GET / HTTP/1.1\r\n", "G"] {
        for endless in ["a", "a: b\r\n"] {
            let mut stream = connect(address);
            let mut sent = stream.write(begun.as_bytes()).unwrap();
            let kib = endless.repeat(1024 / endless.len());
            // Until it is cut off: sooner than what sockets hold is sent.
            while let Ok(length) = stream.write(kib.as_bytes()) {
                sent += length;
                assert!(sent < 64 << 20, "{begun:?} and {endless:?} go on");
            }
        }
    }
    assert_status(address, "GET /metrics", 200);
}

#[test]
fn a_head_that_comes_byte_by_byte_has_no_longer_for_that() {
    let Running { address, .. } = server(Limits { head: Duration::from_millis(300), ..LIMITS });
    let begun = Instant::now();
    let mut slow = connect(address);
    for byte in b"GET /-/healthy HTTP/1.1\r\nX: ".iter().chain([&b'x'; 10_000]) {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[test]
fn garbage_ends_its_connection() {
    let Running { address, .. } = server(LIMITS);
    let mut random = fastrand::Rng::with_seed(8);
    for _ in 0..200 {
        let mut garbage = vec![0; random.usize(1..2000)];
        random.fill(&mut garbage);
        let valid = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(random.usize(..5));
        let found = statuses(address, &[valid.as_bytes(), b"\r\n", &garbage, b"\r\n\r\n"].concat());
        // As many as there were, if they were not lost with the connection, and that it is wrong.
        assert!(found.iter().all(|status| [200, 400].contains(status)), "{found:?}");
    }
    assert_status(address, "GET /metrics", 200);
}

#[test]
fn nothing_is_agreed_on_anew() {
    const REQUEST: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const APPLICATION_DATA: u8 = 23;
    let authority = Authority::new();
    let files = Files::with_certificate(TLS, &authority);
    let running = files.serve(LIMITS);
    let client = authority.client_of(&TLS12, |builder| {
        let mut client = builder.with_no_client_auth();
        client.enable_secret_extraction = true;
        client
    });
    let hello = {
        let mut bytes = Vec::new();
        let mut another = ClientConnection::new(Arc::clone(&client), "localhost".try_into().unwrap()).unwrap();
        another.write_tls(&mut bytes).unwrap();
        // Without the head of its record.
        bytes.split_off(5)
    };

    let mut stream = secured(connect(running.address), &client);
    stream.write_all(REQUEST).unwrap();
    assert_eq!(status(&read_head(&mut stream).to_ascii_lowercase()), 200);
    stream.read_exact(&mut [0; "ok\n".len()]).unwrap();

    let StreamOwned { conn, sock: mut socket } = stream;
    let (mut sequence, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = conn.dangerous_extract_secrets().unwrap().tx
    else {
        panic!("the server's first choice is another")
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    // As RFC 5288 has it: the nonce has four bytes of the key block, and eight that are sent.
    let mut sealed = |kind: u8, text: &[u8]| {
        let (head, explicit) = ([kind, 3, 3], sequence.to_be_bytes());
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&iv.as_ref()[..4]);
        nonce[4..].copy_from_slice(&explicit);
        let associated = [&explicit[..], &head, &(text.len() as u16).to_be_bytes()].concat();
        let mut sealed = text.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut sealed).unwrap();
        sequence += 1;
        [&head[..], &((explicit.len() + sealed.len()) as u16).to_be_bytes(), &explicit, &sealed].concat()
    };
    let kind_of_record = |mut socket: &TcpStream| {
        let mut head = [0; 5];
        socket.read_exact(&mut head).unwrap();
        let length = u16::from_be_bytes([head[3], head[4]]);
        socket.read_exact(&mut vec![0; length.into()]).unwrap();
        head[0]
    };
    // Refused, but forgiven once.
    socket.write_all(&sealed(HANDSHAKE, &hello)).unwrap();
    assert_eq!(kind_of_record(&socket), ALERT);
    socket.write_all(&sealed(APPLICATION_DATA, REQUEST)).unwrap();
    assert_eq!(kind_of_record(&socket), APPLICATION_DATA);
    let begun = Instant::now();
    while socket.write_all(&sealed(HANDSHAKE, &hello)).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
    }
}
