//! What TLS files contain, in words. In: their bytes, and certificates and keys that rustls refuses, or that clients
//! may refuse. Out: what they are, and what to do. Of a file of keys, only the kind of the key is said.

use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use tokio_rustls::rustls::{
    Error, InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use x509_cert::{
    Certificate, Version,
    der::{
        Decode, SliceReader, Tag, Tagged,
        asn1::{AnyRef, ObjectIdentifier},
    },
    ext::pkix::{BasicConstraints, SubjectAltName, name::GeneralName},
};

/// The keys that rustls signs with, by ring.
const SIGNS: &str = "ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits";
/// The keys that it verifies.
const VERIFIES: &str = "ECDSA on P-256 or P-384, Ed25519, and RSA of 2048 to 8192 bits";

/// Why a file of certificates has none. `place` names it, with its path if it is a file.
pub(super) fn no_certificate(place: &str, path: Option<&Path>, bytes: &[u8]) -> String {
    let file = path.map_or("FILE".into(), |path| path.display().to_string());
    let labels = labels(bytes);
    let has = |label: &str| labels.iter().any(|it| it == label);
    let what = match instead(bytes, &labels, &format!("openssl x509 -inform DER -in {file} -out server.crt"), &file) {
        Some(words) => words,
        None if has("CERTIFICATE") => "has a certificate that is cut off or broken: copy it again, whole".into(),
        None if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") => {
            "has a request for a certificate: name the certificate that an authority has made from it".into()
        }
        None if has("PKCS7") => {
            format!("has PKCS7, no CERTIFICATE: `openssl pkcs7 -print_certs -in {file} -out server.crt` extracts it")
        }
        None if has("TRUSTED CERTIFICATE") => format!(
            "has a TRUSTED CERTIFICATE, which only OpenSSL reads: `openssl x509 -in {file} -out server.crt` makes a \
             CERTIFICATE of it"
        ),
        None if labels.is_empty() => {
            "has no certificate as PEM, which begins with a line -----BEGIN CERTIFICATE-----".into()
        }
        None => format!("has {}, but no CERTIFICATE", labels.join(", ")),
    };
    format!("{place} {what}")
}

/// Why a file of a key has none.
pub(super) fn no_key(place: &str, path: Option<&Path>, bytes: &[u8]) -> String {
    let file = path.map_or("FILE".into(), |path| path.display().to_string());
    let labels = labels(bytes);
    let has = |label: &str| labels.iter().any(|it| it == label);
    let is_encrypted = has("ENCRYPTED PRIVATE KEY") || contains(bytes, "Proc-Type: 4,ENCRYPTED");
    let what = match instead(bytes, &labels, &format!("openssl pkey -inform DER -in {file} -out server.key"), &file) {
        _ if is_encrypted => format!(
            "has an encrypted private key, and nobody can be asked for its passphrase: `openssl pkey -in {file} -out \
             server.key` writes it without one"
        ),
        Some(words) => words,
        None if ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"].iter().any(|label| has(label)) => {
            "has a private key that is cut off or broken: copy it again, whole".into()
        }
        None if labels.is_empty() => {
            "has no private key as PEM, which begins with a line such as -----BEGIN PRIVATE KEY-----".into()
        }
        None => format!(
            "has {}, but no private key that is taken: PRIVATE KEY (PKCS #8), EC PRIVATE KEY (SEC 1) or RSA PRIVATE \
             KEY (PKCS #1)",
            labels.join(", ")
        ),
    };
    format!("{place} {what}")
}

/// What a file is if it is not PEM, or hides it.
fn instead(bytes: &[u8], labels: &[String], from_der: &str, file: &str) -> Option<String> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    Some(if bytes.trim_ascii().is_empty() {
        "is empty".into()
    } else if bytes.starts_with(BYTE_ORDER_MARK) && !labels.is_empty() {
        "begins with a byte order mark, which hides what follows: save it without".into()
    } else if is_pkcs12(bytes) {
        format!(
            "is PKCS #12, not PEM: `openssl pkcs12 -in {file} -nodes -out server.pem` makes PEM of it, certificate and key"
        )
    } else if AnyRef::from_der(bytes).is_ok_and(|any| any.tag() == Tag::Sequence) {
        format!("is DER, not PEM: `{from_der}` makes PEM of it")
    } else {
        return None;
    })
}

/// RFC 7292, section 4: a sequence that begins with the version 3.
fn is_pkcs12(bytes: &[u8]) -> bool {
    items(bytes).and_then(|mut items| u8::decode(&mut items).ok()) == Some(3)
}

/// The kinds of PEM in a file, in its order. None is longer than the longest that exists.
fn labels(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let is_label = |text: &&str| {
        text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_uppercase() || b" 0123456789".contains(&byte))
    };
    let label = |line: &str| {
        let label = line.trim_start_matches('\u{feff}').strip_prefix("-----BEGIN ")?.strip_suffix("-----");
        label.filter(is_label).map(str::to_owned)
    };
    let mut labels: Vec<String> = text.lines().filter_map(|line| label(line.trim())).collect();
    labels.dedup();
    labels.truncate(4);
    labels
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Why rustls does not sign with a key.
pub(super) fn unsupported_key(place: &str, key: &PrivateKeyDer<'_>) -> String {
    let kind = match key {
        PrivateKeyDer::Pkcs8(key) => Kind::of_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(key) => Kind::of_sec1(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs1(key) => items(key.secret_pkcs1_der()).and_then(|items| Kind::of_rsa(items, 1)),
        _ => None,
    };
    match kind {
        Some(kind) if !kind.signs() => format!(
            "{place} has a key that TLS here does not sign with ({kind}). It takes {SIGNS}: `openssl ecparam -name \
             prime256v1 -genkey -noout -out server.key` makes a key; then have a certificate made for it"
        ),
        _ => format!("{place} has a private key that is broken: its numbers do not belong together"),
    }
}

/// Why rustls does not serve a certificate, the first of a chain, with a key. `is_of_key` says whether another belongs
/// to that key.
pub(super) fn unusable_certificate(
    [certificates, key]: [&str; 2],
    chain: &[CertificateDer<'_>],
    is_of_key: impl Fn(&CertificateDer<'_>) -> bool,
    error: &Error,
) -> String {
    let first = chain.first().and_then(|first| Certificate::from_der(first).ok());
    match first.map(|first| first.tbs_certificate().version()) {
        Some(version @ (Version::V1 | Version::V2)) => {
            return format!(
                "{certificates} has a certificate of X.509 version {}, and TLS takes version 3 only: have it signed anew \
                 with its names (`openssl x509 -req … -extfile FILE`, and in FILE subjectAltName=DNS:HOST)",
                version as u8 + 1
            );
        }
        Some(Version::V3) | None => {}
    }
    if *error != Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        return format!("{certificates} has a certificate that TLS cannot use: {error}");
    }
    match chain.iter().skip(1).position(is_of_key) {
        Some(place) => format!(
            "{certificates} has the certificate of the key in place {}: the server's own comes first, then that which \
             signed it, and so on",
            place + 2
        ),
        None => format!(
            "{certificates} and {key} do not go together: the key is of another certificate; `openssl x509 -noout -pubkey` \
             of the one and `openssl pkey -pubout` of the other print the same where they do"
        ),
    }
}

/// Why clients may refuse a server's certificate, if they may. `now` is UNIX time.
pub(super) fn doubts_of_server(place: &str, certificate: &CertificateDer<'_>, now: Duration) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    let validity = certificate.validity();
    let names = certificate.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
    let address = names.iter().flatten().find_map(|name| match name {
        GeneralName::DnsName(name) => name.as_str().parse::<IpAddr>().ok(),
        _ => None,
    });
    let what = if validity.not_after.to_unix_duration() < now {
        format!("has expired ({})", validity.not_after)
    } else if validity.not_before.to_unix_duration() > now {
        format!("is not valid before {}", validity.not_before)
    } else if names.is_none() {
        "names no host (subjectAltName)".into()
    } else if let Some(address) = address {
        format!("has the address {address} as the name of a host (subjectAltName=DNS:{address}, not IP:{address})")
    } else {
        return None;
    };
    Some(format!("the certificate in {place} {what}: clients such as Prometheus will refuse it"))
}

/// Why an authority's certificate can let nobody in, if so.
pub(super) fn doubts_of_authority(place: &str, certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let kind = Kind::of_certificate(&certificate)?;
    (!kind.verifies()).then(|| {
        format!(
            "an authority in {place} has a key whose signatures TLS here does not verify ({kind}): clients with \
             certificates of it will be refused; it verifies {VERIFIES}"
        )
    })
}

/// Why a client may not present a certificate.
pub(super) enum Unfit {
    /// It is of X.509 version 1 or 2.
    Old,
    /// It is an authority's own.
    Authority,
}

impl Unfit {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let certificate = certificate.tbs_certificate();
        let constraints = certificate.get_extension::<BasicConstraints>().ok().flatten();
        match certificate.version() {
            Version::V1 | Version::V2 => Some(Self::Old),
            Version::V3 => constraints.is_some_and(|(_, it)| it.ca).then_some(Self::Authority),
        }
    }
}

/// What a key is.
#[derive(Debug, PartialEq)]
enum Kind {
    /// Bits of the modulus.
    Rsa(usize),
    /// On a curve, if the curve has a name.
    Ecdsa(Option<ObjectIdentifier>),
    Other(ObjectIdentifier),
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// Other kinds that people have.
const NAMES: [(ObjectIdentifier, &str); 7] = [
    (P256, "P-256"),
    (P384, "P-384"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.10"), "secp256k1"),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "Ed448"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"), "RSA-PSS"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "DSA"),
];

impl Kind {
    fn of_certificate(certificate: &Certificate) -> Option<Self> {
        let key = certificate.tbs_certificate().subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref().and_then(|it| it.decode_as().ok());
        Self::of(key.algorithm.oid, curve, || Self::of_rsa(items(key.subject_public_key.raw_bytes())?, 0))
    }

    /// RFC 5208, section 5: a version, the algorithm with its parameters, and the key in the algorithm's form.
    fn of_pkcs8(der: &[u8]) -> Option<Self> {
        let mut key = items(der)?;
        let (_, algorithm, inner) =
            (AnyRef::decode(&mut key).ok()?, AnyRef::decode(&mut key).ok()?, AnyRef::decode(&mut key).ok()?);
        let mut algorithm = SliceReader::new(algorithm.value()).ok()?;
        let name = ObjectIdentifier::decode(&mut algorithm).ok()?;
        let curve = ObjectIdentifier::decode(&mut algorithm).ok();
        Self::of(name, curve, || Self::of_rsa(items(inner.value())?, 1))
    }

    /// RFC 5915, section 3: a version, the key, and perhaps the curve, tagged 0.
    fn of_sec1(der: &[u8]) -> Option<Self> {
        let mut key = items(der)?;
        let (_, _) = (AnyRef::decode(&mut key).ok()?, AnyRef::decode(&mut key).ok()?);
        let curve = AnyRef::decode(&mut key).ok().and_then(|it| ObjectIdentifier::from_der(it.value()).ok());
        Some(Self::Ecdsa(curve))
    }

    /// RFC 8017, appendix A.1: in a private key the modulus follows a version.
    fn of_rsa(mut key: SliceReader<'_>, before: usize) -> Option<Self> {
        for _ in 0..before {
            AnyRef::decode(&mut key).ok()?;
        }
        let modulus = AnyRef::decode(&mut key).ok()?.value();
        let digits = &modulus[modulus.iter().position(|&byte| byte != 0)?..];
        Some(Self::Rsa(digits.len() * 8 - digits[0].leading_zeros() as usize))
    }

    fn of(
        algorithm: ObjectIdentifier,
        curve: Option<ObjectIdentifier>,
        rsa: impl Fn() -> Option<Self>,
    ) -> Option<Self> {
        match algorithm {
            RSA => rsa(),
            EC => Some(Self::Ecdsa(curve)),
            other => Some(Self::Other(other)),
        }
    }

    fn signs(&self) -> bool {
        self.is_within(4096)
    }

    fn verifies(&self) -> bool {
        self.is_within(8192)
    }

    fn is_within(&self, most_bits: usize) -> bool {
        match self {
            // ring counts keys with one bit less as this size; old keys may have one less.
            Self::Rsa(bits) => (2047..=most_bits).contains(bits),
            Self::Ecdsa(curve) => matches!(*curve, Some(P256 | P384)),
            Self::Other(algorithm) => *algorithm == ED25519,
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = |oid: &ObjectIdentifier| NAMES.iter().find(|(it, _)| it == oid).map(|&(_, name)| name);
        match self {
            Self::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            Self::Ecdsa(None) => f.write_str("ECDSA on a curve that is not named but written out"),
            Self::Ecdsa(Some(curve)) => match name(curve) {
                Some(name) => write!(f, "ECDSA on {name}"),
                None => write!(f, "ECDSA on the curve {curve}"),
            },
            Self::Other(algorithm) => match name(algorithm) {
                Some(name) => f.write_str(name),
                None => write!(f, "the algorithm {algorithm}"),
            },
        }
    }
}

/// The items of a sequence.
fn items(der: &[u8]) -> Option<SliceReader<'_>> {
    let sequence = AnyRef::from_der(der).ok().filter(|it| it.tag() == Tag::Sequence)?;
    SliceReader::new(sequence.value()).ok()
}
