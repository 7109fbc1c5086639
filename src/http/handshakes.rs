//! Clients that were refused: TLS handshakes that failed, and wrong passwords. In: the cause, and the client's address. Out: lines of
//! the log in our words. Each cause has at most one line a minute, with a count, so that neither a flood nor another cause hides it.
//! The lines contain nothing that a client sent.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::tls::Unwelcome;

/// Causes that an operator can do something about. All others are noise, and never end on an open port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    NoCertificate,
    Expired,
    NotYetValid,
    UnknownIssuer,
    Name,
    Purpose,
    Old,
    Authority,
    Algorithm,
    Signature,
    OtherCertificate,
    OurExpired,
    OurUnknown,
    OurRefused,
    NothingInCommon,
    Password,
}

impl Cause {
    fn of(error: &Error) -> Option<Self> {
        Some(match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateExpired => Self::OurExpired,
                AlertDescription::UnknownCA => Self::OurUnknown,
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown => Self::OurRefused,
                _ => return None,
            },
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => return None,
        })
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::ApplicationVerificationFailure => Self::Name,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::Purpose,
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Algorithm,
            CertificateError::BadSignature => Self::Signature,
            CertificateError::Other(why) => match why.0.downcast_ref() {
                Some(Unwelcome::Old) => Self::Old,
                Some(Unwelcome::Authority) => Self::Authority,
                None => Self::OtherCertificate,
            },
            _ => Self::OtherCertificate,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NoCertificate => "was refused: it sent no certificate, which client_auth_type requires",
            Self::Expired => "was refused: its certificate has expired",
            Self::NotYetValid => "was refused: its certificate is not valid yet; do the clocks agree?",
            Self::UnknownIssuer => {
                "was refused: its certificate leads to no authority in client_ca; does it send the intermediate \
                 certificates?"
            }
            Self::Name => "was refused: its certificate has none of the names in client_allowed_sans",
            Self::Purpose => "was refused: its certificate is not for clients (extendedKeyUsage without clientAuth)",
            Self::Old => "was refused: its certificate is of X.509 version 1 or 2, and this server needs version 3",
            Self::Authority => {
                "was refused: its certificate is that of an authority (CA:TRUE); a client needs one that an \
                 authority has signed"
            }
            Self::Algorithm => {
                "was refused: its certificate has a signature that TLS here does not verify, but ECDSA on P-256 and P-384, \
                 Ed25519, RSA of 2048 to 8192 bits"
            }
            Self::Signature => "was refused: a signature on its certificate, or by its key, is wrong",
            Self::OtherCertificate => "was refused: its certificate cannot be verified",
            Self::OurExpired => "does not accept the certificate of this server: it has expired, the client says",
            Self::OurUnknown => "does not accept the certificate of this server: it does not know who signed it",
            Self::OurRefused => {
                "does not accept the certificate of this server: does it trust the authority, and use a name in \
                 the certificate?"
            }
            Self::NothingInCommon => {
                "has no version, cipher suite or key exchange of TLS in common with this server: see min_version, \
                 max_version, cipher_suites and curve_preferences"
            }
            Self::Password => "was refused: its user or password is wrong",
        }
    }

    fn log(self, count: u64, client: Option<IpAddr>) {
        let (words, client) = (self.words(), client.map(tracing::field::display));
        match self {
            Self::NothingInCommon => tracing::info!(count, client, "a TLS client {words}"),
            Self::Password => tracing::warn!(count, client, "an HTTP client {words}"),
            _ => tracing::warn!(count, client, "a TLS client {words}"),
        }
    }
}

/// Failures that were not logged yet, by cause, for causes that were logged a short while ago. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Failures(Arc<Mutex<BTreeMap<Cause, Untold>>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Untold {
    count: u64,
    /// Of the latest failure.
    client: Option<IpAddr>,
}

impl Failures {
    /// Logs a failed handshake, now or when `interval` is over. Call it on a runtime.
    pub(super) fn tell(&self, error: &io::Error, client: Option<IpAddr>, interval: Duration) {
        match error.get_ref().and_then(|error| error.downcast_ref()).and_then(Cause::of) {
            Some(cause) => self.tell_cause(cause, client, interval),
            None => tracing::debug!(%error, "no TLS on an HTTP connection"),
        }
    }

    /// Logs a wrong user or password in the same way.
    pub(super) fn tell_wrong_password(&self, client: Option<IpAddr>, interval: Duration) {
        self.tell_cause(Cause::Password, client, interval);
    }

    fn tell_cause(&self, cause: Cause, client: Option<IpAddr>, interval: Duration) {
        if self.is_first(cause, client) {
            cause.log(1, client);
            let failures = self.clone();
            tokio::spawn(async move {
                loop {
                    sleep(interval).await;
                    let Some(Untold { count, client }) = failures.take(cause) else { break };
                    cause.log(count, client);
                }
            });
        }
    }

    /// Whether to log it at once; otherwise it is counted.
    fn is_first(&self, cause: Cause, client: Option<IpAddr>) -> bool {
        let mut causes = self.causes();
        match causes.get_mut(&cause) {
            Some(untold) => {
                *untold = Untold { count: untold.count + 1, client };
                false
            }
            None => {
                causes.insert(cause, Untold::default());
                true
            }
        }
    }

    /// What to log now; `None` if nothing more came, and the next is the first again.
    fn take(&self, cause: Cause) -> Option<Untold> {
        let mut causes = self.causes();
        let untold = causes.remove(&cause).filter(|untold| untold.count > 0)?;
        causes.insert(cause, Untold::default());
        Some(untold)
    }

    fn causes(&self) -> MutexGuard<'_, BTreeMap<Cause, Untold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let failures = Failures::default();
        let ip = |text: &str| Some(text.parse().unwrap());
        assert!(failures.is_first(Cause::Expired, ip("192.0.2.1")));
        assert!(!failures.is_first(Cause::Expired, ip("192.0.2.2")));
        assert!(!failures.is_first(Cause::Expired, ip("192.0.2.3")));
        // No cause hides another.
        assert!(failures.is_first(Cause::NoCertificate, None));
        assert_eq!(failures.take(Cause::Expired), Some(Untold { count: 2, client: ip("192.0.2.3") }));
        assert!(!failures.is_first(Cause::Expired, None), "a line is just told");
        assert_eq!(failures.take(Cause::Expired), Some(Untold { count: 1, client: None }));
        assert_eq!(failures.take(Cause::Expired), None);
        assert!(failures.is_first(Cause::Expired, None));
    }

    #[test]
    fn what_is_no_fault_of_a_certificate_is_noise() {
        for error in
            [Error::DecryptError, Error::AlertReceived(AlertDescription::CloseNotify), Error::General("x".into())]
        {
            assert_eq!(Cause::of(&error), None, "{error}");
        }
    }
}
