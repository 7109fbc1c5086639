//! What can stand in the file. In: texts of it, right and wrong. Out: a server, or one line that says what is wrong.

use std::path::Path;

use super::*;

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
        (
            format!("basic_auth_users:\n  - alice: {hash}\n"),
            "expected mapping start at line 2, column 3; it has lines KEY: VALUE without - before them, as USER: HASH below",
        ),
        ("http_server_config:\n  http2: perhaps\n".into(), "bool"),
        ("tls_server_config:\n  key_file: server.key\n".into(), "missing one of cert or cert_file"),
        ("tls_server_config:\n  cert_file: server.crt\n".into(), "missing one of key or key_file"),
        ("tls_server_config:\n  min_version: TLS12\n".into(), "missing one of cert or cert_file"),
        (tls("cert: x"), "has both cert and cert_file: keep one"),
        (tls("client_auth_type: Please"), "client_auth_type: \"Please\" is not one of NoClientCert, "),
        (tls("client_ca_file: server.crt"), "client_ca or client_ca_file is given, but client_auth_type verifies no"),
        (tls("client_allowed_sans: [x]"), "client_allowed_sans is given, but client_auth_type verifies no"),
        (
            tls("client_auth_type: RequireAnyClientCert\n  client_ca: x"),
            "client_ca_file is given, but client_auth_type",
        ),
        (tls("client_auth_type: RequestClientCert\n  client_allowed_sans: []"), "client_allowed_sans is given, but"),
        (tls("client_auth_type: RequireAndVerifyClientCert"), "needs client_ca or client_ca_file"),
        (tls("client_auth_type: VerifyClientCertIfGiven"), "needs client_ca or client_ca_file"),
        (tls("min_version: SSL30"), "min_version: \"SSL30\" is not one of TLS12, TLS13"),
        (tls("max_version: TLS11"), "max_version: the server does not speak TLS 1.0 and 1.1"),
        (tls("min_version: TLS13\n  max_version: TLS12"), "min_version is above max_version"),
        (tls("cipher_suites: [TLS_NONE]"), "cipher_suites: \"TLS_NONE\" is not one of TLS_AES_256_GCM_SHA384, "),
        (tls("curve_preferences: [CurveP521]"), "curve_preferences: \"CurveP521\" is not one of X25519, "),
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
            "invalid value for X-Frame-Options: \"allow\" is not one of deny, sameorigin",
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
