//! The web configuration file, in the format of Prometheus' exporter-toolkit (its docs/web-configuration.md). In: the
//! file's text. Out: what it asks for, checked, or what is wrong with it. The toolkit accepts some files that leave a
//! door open that looks shut (TLS without a certificate, names of clients that nobody verifies). Here these are errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use bcrypt::HashParts;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use serde::Deserialize;
use serde_saphyr::UserMessageFormatter;
use tokio_rustls::rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        SupportedKxGroup,
        ring::{ALL_CIPHER_SUITES, ALL_KX_GROUPS, kx_group},
    },
    version::{TLS12, TLS13},
};

use crate::units;

/// What a file asks for.
pub(super) struct Config {
    pub(super) tls: Option<Tls>,
    /// Headers to add to each response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Hashes of passwords by user. Without users everybody is let in.
    pub(super) users: BTreeMap<String, String>,
    pub(super) rate_limit: Option<RateLimit>,
}

impl Config {
    /// The settings that keep clients out, by the names of their keys.
    pub(super) fn guards(&self) -> BTreeSet<&'static str> {
        let (tls, users) = (self.tls.as_ref(), ("basic_auth_users", !self.users.is_empty()));
        let asks = ("client_auth_type", tls.is_some_and(|tls| tls.client_auth.requires()));
        let names = ("client_allowed_sans", tls.is_some_and(|tls| tls.allowed_names.is_some()));
        let guards = [("tls_server_config", tls.is_some()), asks, names, users];
        guards.into_iter().filter_map(|(key, is_there)| is_there.then_some(key)).collect()
    }
}

/// How to speak TLS.
pub(super) struct Tls {
    pub(super) certificates: Source,
    pub(super) key: Source,
    pub(super) client_auth: ClientAuth,
    pub(super) client_authorities: Option<Source>,
    /// One of these names must be in a client's certificate.
    pub(super) allowed_names: Option<Vec<String>>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) cipher_suites: Vec<SupportedCipherSuite>,
    pub(super) key_exchanges: Vec<&'static dyn SupportedKxGroup>,
    pub(super) prefers_own_suites: bool,
}

/// Where PEM comes from.
pub(super) enum Source {
    File { key: &'static str, path: PathBuf },
    Inline { key: &'static str, text: String },
}

/// What clients' certificates must meet, by the names of Go's `tls.ClientAuthType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "NoClientCert" => Self::NoClientCert,
            "RequestClientCert" => Self::RequestClientCert,
            // The second is the toolkit's old name.
            "RequireAnyClientCert" | "RequireClientCert" => Self::RequireAnyClientCert,
            "VerifyClientCertIfGiven" => Self::VerifyClientCertIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerifyClientCert,
            _ => return None,
        })
    }

    /// Whether a given certificate must be signed by one of the authorities.
    pub(super) fn verifies(self) -> bool {
        match self {
            Self::NoClientCert | Self::RequestClientCert | Self::RequireAnyClientCert => false,
            Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert => true,
        }
    }

    /// Whether a client must have a certificate.
    pub(super) fn requires(self) -> bool {
        match self {
            Self::NoClientCert | Self::RequestClientCert | Self::VerifyClientCertIfGiven => false,
            Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert => true,
        }
    }
}

/// How many requests to answer: one for each interval, and a burst after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RateLimit {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// The file as written. A key without a value counts as absent.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<RateLimitSection>,
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct TlsSection {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpSection {
    /// Accepted, because files of other exporters have it. The server speaks HTTP/1.1 in any case.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RateLimitSection {
    interval: Option<String>,
    burst: Option<u32>,
}

/// Parses a file's text. Its relative paths start at `directory`.
///
/// # Errors
/// What is wrong, without the secrets that the text may contain.
pub(super) fn parse(text: &str, directory: &Path) -> Result<Config, String> {
    // A snippet of the text would be in the log.
    let options = serde_saphyr::options! { with_snippet: false };
    let file: Option<File> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| with_form(error.render_with_formatter(&UserMessageFormatter)))?;
    let File { tls_server_config, http_server_config, basic_auth_users, rate_limit } = file.unwrap_or_default();
    let tls = match tls_server_config {
        Some(section) if section != TlsSection::default() => Some(tls(section, directory)?),
        _ => None,
    };
    let headers = http_server_config.unwrap_or_default().headers.unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| header(name, value));
    let headers = headers.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let users = basic_auth_users.unwrap_or_default();
    users.iter().try_for_each(|(user, hash)| check_hash(user, hash))?;
    Ok(Config { tls, headers, users, rate_limit: rate_limit.map(limit).transpose()?.flatten() })
}

/// Says what a mapping looks like where something else stands.
fn with_form(error: String) -> String {
    if error.starts_with("expected mapping") {
        return format!("{error}; it has lines KEY: VALUE without - before them, as USER: HASH below basic_auth_users");
    }
    error
}

fn tls(section: TlsSection, directory: &Path) -> Result<Tls, String> {
    let source = |names: [&'static str; 2], inline: Option<String>, file: Option<PathBuf>| {
        let inline = inline.filter(|text| !text.is_empty());
        match (inline, file.filter(|path| !path.as_os_str().is_empty())) {
            (Some(_), Some(_)) => Err(format!("tls_server_config: has both {} and {}: keep one", names[0], names[1])),
            (Some(text), None) => Ok(Some(Source::Inline { key: names[0], text })),
            (None, Some(path)) => Ok(Some(Source::File { key: names[1], path: directory.join(path) })),
            (None, None) => Ok(None),
        }
    };
    let missing = |names: [_; 2]| format!("tls_server_config: missing one of {} or {}", names[0], names[1]);
    let names = ["cert", "cert_file"];
    let certificates = source(names, section.cert, section.cert_file)?.ok_or_else(|| missing(names))?;
    let names = ["key", "key_file"];
    let key = source(names, section.key, section.key_file)?.ok_or_else(|| missing(names))?;
    let client_authorities = source(["client_ca", "client_ca_file"], section.client_ca, section.client_ca_file)?;

    let name = section.client_auth_type.unwrap_or_default();
    let client_auth = ClientAuth::named(&name).ok_or_else(|| {
        format!(
            "client_auth_type: {name:?} is not one of NoClientCert, RequestClientCert, RequireAnyClientCert, \
             VerifyClientCertIfGiven, RequireAndVerifyClientCert"
        )
    })?;
    // Anybody can sign a certificate for any name.
    for (key, is_given) in [
        ("client_ca or client_ca_file", client_authorities.is_some()),
        ("client_allowed_sans", section.client_allowed_sans.is_some()),
    ] {
        if is_given && !client_auth.verifies() {
            return Err(format!(
                "{key} is given, but client_auth_type verifies no certificate: RequireAndVerifyClientCert does"
            ));
        }
    }
    // Go would accept all authorities that the system trusts: nearly everybody.
    if client_auth.verifies() && client_authorities.is_none() {
        return Err(format!("client_auth_type: {name} needs client_ca or client_ca_file to verify against"));
    }
    Ok(Tls {
        certificates,
        key,
        client_auth,
        client_authorities,
        allowed_names: section.client_allowed_sans,
        versions: versions(section.min_version.as_deref(), section.max_version.as_deref())?,
        cipher_suites: cipher_suites(&section.cipher_suites.unwrap_or_default())?,
        key_exchanges: key_exchanges(&section.curve_preferences.unwrap_or_default())?,
        prefers_own_suites: section.prefer_server_cipher_suites.unwrap_or(true),
    })
}

/// TLS 1.2 is the oldest version. It meets a lower minimum; it cannot meet a lower maximum.
fn versions(min: Option<&str>, max: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let number = |key: &str, name: &str| match name {
        "TLS10" => Ok(10),
        "TLS11" => Ok(11),
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        _ => Err(format!("{key}: {name:?} is not one of TLS12, TLS13")),
    };
    let (min, max) = (number("min_version", min.unwrap_or("TLS12"))?, number("max_version", max.unwrap_or("TLS13"))?);
    if max < 12 {
        return Err("max_version: the server does not speak TLS 1.0 and 1.1: use TLS12 or TLS13".into());
    }
    if min > max {
        return Err("min_version is above max_version".into());
    }
    let all = [(12, &TLS12), (13, &TLS13)];
    Ok(all.into_iter().filter(|(number, _)| (min..=max).contains(number)).map(|(_, version)| version).collect())
}

/// As in Go, those of TLS 1.3 cannot be chosen: all are there.
fn cipher_suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    if names.is_empty() {
        return Ok(ALL_CIPHER_SUITES.to_vec());
    }
    let is_new = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = ALL_CIPHER_SUITES.iter().copied().filter(is_new).collect();
    for name in names {
        let named = ALL_CIPHER_SUITES.iter().find(|suite| &cipher_suite_name(suite) == name).ok_or_else(|| {
            let known: Vec<String> = ALL_CIPHER_SUITES.iter().map(cipher_suite_name).collect();
            format!("cipher_suites: {name:?} is not one of {}", known.join(", "))
        })?;
        if !suites.contains(named) {
            suites.push(*named);
        }
    }
    Ok(suites)
}

/// The name in the standard, which Go uses, too.
fn cipher_suite_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

fn key_exchanges(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    if names.is_empty() {
        return Ok(ALL_KX_GROUPS.to_vec());
    }
    let named = |name: &String| match name.as_str() {
        "X25519" => Ok(kx_group::X25519),
        "CurveP256" => Ok(kx_group::SECP256R1),
        "CurveP384" => Ok(kx_group::SECP384R1),
        _ => Err(format!("curve_preferences: {name:?} is not one of X25519, CurveP256, CurveP384")),
    };
    names.iter().map(named).collect()
}

/// One of the headers that the toolkit allows; `None` if it is blank.
fn header(name: &str, value: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let (header, values): (_, &[&str]) = match name {
        "Strict-Transport-Security" => (STRICT_TRANSPORT_SECURITY, &[]),
        "X-Content-Type-Options" => (X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
        "X-Frame-Options" => (X_FRAME_OPTIONS, &["deny", "sameorigin"]),
        "X-XSS-Protection" => (X_XSS_PROTECTION, &[]),
        "Content-Security-Policy" => (CONTENT_SECURITY_POLICY, &[]),
        _ => return Err(format!("headers: HTTP header {name:?} can not be configured")),
    };
    if !values.is_empty() && !values.contains(&value) {
        return Err(format!("headers: invalid value for {name}: {value:?} is not one of {}", values.join(", ")));
    }
    let value =
        HeaderValue::from_str(value).map_err(|_| format!("headers: {name} has a character that cannot be sent"))?;
    Ok((!value.is_empty()).then_some((header, value)))
}

fn check_hash(user: &str, hash: &str) -> Result<(), String> {
    let parts = hash.parse::<HashParts>().ok();
    match parts.filter(|parts| (4..=31).contains(&parts.get_cost())) {
        Some(_) => Ok(()),
        None => Err(format!(
            "basic_auth_users: the value of user {user:?} is no bcrypt hash; `htpasswd -nBC 10 \"\" | tr -d \
             ':\\n'` makes one"
        )),
    }
}

fn limit(section: RateLimitSection) -> Result<Option<RateLimit>, String> {
    let interval = duration(section.interval.as_deref().unwrap_or("0"))
        .ok_or("rate_limit: interval is not a duration, as in 500ms, 1s or 1m30s")?;
    match section.burst.unwrap_or(0) {
        _ if interval.is_zero() => Ok(None),
        0 => Err("rate_limit: burst is 0, which would refuse every request".into()),
        burst => Ok(Some(RateLimit { interval, burst })),
    }
}

/// A duration as Go writes it: numbers, each with its unit.
fn duration(text: &str) -> Option<Duration> {
    let has_unit = text == "0" || text.ends_with(char::is_alphabetic);
    units::duration(text).ok().filter(|_| has_unit)
}
