//! The NATS servers, and as whom to connect. In: addresses, and files with secrets. Out: a connected client. Files are read at each
//! connection, so that they may be replaced at any time.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use crate::files;

/// How long a server may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that answers no ping twice is gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// One or more servers of a cluster, and what they want to see.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    addresses: Vec<ServerAddr>,
    /// As whom to connect.
    pub identity: Identity,
    /// The files for TLS.
    pub tls: TlsFiles,
}

/// As whom to connect. Secrets are in files, since command lines are public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// As nobody.
    #[default]
    Nobody,
    /// A file of credentials, as `nsc` makes them.
    Credentials(PathBuf),
    /// A file with the seed of an NKey.
    Nkey(PathBuf),
    /// A file with a line `USER:PASSWORD`.
    User(PathBuf),
    /// A file with a token.
    Token(PathBuf),
}

/// PEM files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities to trust besides those of the system.
    pub authorities: Option<PathBuf>,
    /// A certificate of our own and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// Servers by their URLs: `nats://HOST[:PORT]` or `tls://HOST[:PORT]`.
    ///
    /// # Errors
    /// A line that says which URLs are right.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let addresses: Vec<_> = urls.into_iter().map(address).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err("no server is named".into());
        }
        Ok(Self { addresses, identity: Identity::default(), tls: TlsFiles::default() })
    }

    /// Connects to the first server that lets us in. `told` gets what happens later.
    pub(super) async fn connect(
        &self,
        name: &str,
        more: &[String],
        told: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Client, String> {
        // async-nats takes rustls' provider of the process. The HTTP server names its own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_connected = Arc::new(AtomicBool::new(false));
        let once = Arc::clone(&is_connected);
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .retain_servers_order()
            // A connection is never used again after it broke: what waited in it counts as lost by then, and must not come later.
            .reconnect_delay_callback(
                move |_| if once.load(Relaxed) { Duration::from_secs(1 << 20) } else { Duration::ZERO },
            )
            .event_callback(move |event| {
                told(event);
                std::future::ready(())
            });
        if self.addresses.iter().any(ServerAddr::tls_required) {
            options = options.require_tls(true);
        }
        if let Some(authorities) = &self.tls.authorities {
            options = options.add_root_certificates(authorities.clone());
        }
        if let Some((certificate, key)) = &self.tls.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let options = self.identity.add_to(options)?;
        let more = more.iter().filter_map(|url| url.parse().ok()).filter(|other| !self.addresses.contains(other));
        let addresses: Vec<_> = self.addresses.iter().cloned().chain(more).collect();
        let client = options.connect(addresses).await.map_err(|error| words(&error))?;
        is_connected.store(true, Relaxed);
        Ok(client)
    }
}

impl Identity {
    fn add_to(&self, options: ConnectOptions) -> Result<ConnectOptions, String> {
        let path = match self {
            Self::Nobody => return Ok(options),
            Self::Credentials(path) | Self::Nkey(path) | Self::User(path) | Self::Token(path) => path,
        };
        let secret = read(path)?;
        let wrong = |what: &str| format!("{} is wrong: it must have {what}", path.display());
        match self {
            Self::Nobody => Ok(options),
            Self::Credentials(_) => options.credentials(&secret).map_err(|_| wrong("credentials as nsc makes them")),
            Self::Nkey(_) => Ok(options.nkey(secret)),
            Self::User(_) => {
                let (user, password) = secret.split_once(':').ok_or_else(|| wrong("one line USER:PASSWORD"))?;
                Ok(options.user_and_password(user.to_owned(), password.to_owned()))
            }
            Self::Token(_) => Ok(options.token(secret)),
        }
    }
}

/// The text of a file, without white space around it.
fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: &dyn fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes = files::read_small(path).map_err(|error| cannot(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is not text"))?;
    match text.trim() {
        "" => Err(cannot(&"it is empty")),
        text => Ok(text.to_owned()),
    }
}

fn address(url: &str) -> Result<ServerAddr, String> {
    let form = || "must be nats://HOST[:PORT] or tls://HOST[:PORT]".to_owned();
    let address: ServerAddr = url.parse().map_err(|_| form())?;
    if !matches!(address.scheme(), "nats" | "tls") || address.host().is_empty() {
        return Err(form());
    }
    // Everybody on the machine sees a command line.
    if address.has_user_pass() || address.username().is_some() {
        return Err("must have no user, password or token: name a file by --nats.user-file or --nats.token-file".into());
    }
    Ok(address)
}

/// An error and its causes, in a line.
pub(super) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// The addresses, as they were given.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, address) in self.addresses.iter().enumerate() {
            let separator = if place > 0 { "," } else { "" };
            let (scheme, host, port) = (address.scheme(), address.host(), address.port());
            let [begin, end] = if host.contains(':') { ["[", "]"] } else { ["", ""] };
            write!(f, "{separator}{scheme}://{begin}{host}{end}:{port}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_nats_and_have_no_secrets() {
        let server = |url| Server::new([url]).map(|server| server.to_string());
        assert_eq!(server("nats://alice").as_deref(), Ok("nats://alice:4222"));
        assert_eq!(server("tls://10.0.0.1:4443").as_deref(), Ok("tls://10.0.0.1:4443"));
        assert_eq!(server("nats://[::1]:5").as_deref(), Ok("nats://[::1]:5"));
        for url in ["", "http://a", "ws://a", "nats://", "nats://a:x"] {
            assert!(server(url).unwrap_err().starts_with("must be nats://"), "{url}");
        }
        for url in ["nats://user:secret@a", "nats://token@a", "tls://u:p@a:1"] {
            let error = server(url).unwrap_err();
            assert!(error.contains("--nats.user-file") && !error.contains("secret"), "{url}: {error}");
        }
    }
}
