//! Which clients to let in. In: the web configuration file and the files that it names, read again for each connection
//! and each request, as the toolkit does it. Out: how to speak TLS, and whether to answer a request. While the files
//! are wrong, nobody is let in. Half of a file that is being written can be right, too. So a setting that has kept
//! clients out stays in force until the process ends, however the file changes.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio_rustls::rustls::ServerConfig;

use super::{
    config::{self, Config, RateLimit},
    passwords::{Passwords, Verdict},
};
use crate::files;

/// The shortest time between two lines of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What guards the pages: nothing, or a web configuration file.
pub struct Gate(Option<Watched>);

/// Why a request does not get what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It came without TLS, and the server speaks TLS.
    PlainText,
    /// Its user or password is wrong.
    Unauthorized,
    /// The rate limit is reached.
    TooMany,
    /// Too many passwords are being checked.
    Busy,
    /// The configuration file is wrong.
    Misconfigured,
}

/// The version of the files that let a client in.
#[derive(Clone)]
pub(super) struct Version {
    rules: Option<Arc<Rules>>,
    tls: Option<Arc<ServerConfig>>,
}

/// A file that must be right whenever it is read.
struct Watched {
    path: PathBuf,
    /// Decided at the start, as in the toolkit.
    has_tls: bool,
    passwords: Passwords,
    state: Mutex<State>,
}

/// What was last read.
#[derive(Default)]
struct State {
    /// The settings that have kept clients out so far.
    guards: BTreeSet<&'static str>,
    rules: Option<(Digest, Result<Arc<Rules>, String>)>,
    tls: Option<(Digest, Result<Arc<ServerConfig>, String>)>,
    rules_log: Log,
    tls_log: Log,
}

/// A configuration that is right, and how much of its rate is left.
struct Rules {
    digest: Digest,
    config: Config,
    /// Tokens, and when they were counted.
    bucket: Mutex<(f64, Instant)>,
}

type Digest = [u8; SHA256_OUTPUT_LEN];

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.0.as_ref().map(|watched| &watched.path)).finish()
    }
}

impl Gate {
    /// Lets everybody in, without TLS.
    pub fn open() -> Self {
        Self(None)
    }

    /// Lets in the clients that the file at `path` allows, in the format of [Prometheus'
    /// exporter-toolkit](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
    ///
    /// # Errors
    /// If the file or one that it names cannot be read or is wrong, with what is wrong.
    pub fn guarded(path: &Path) -> io::Result<Self> {
        let watched = Watched::new(path).map_err(|what| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the web configuration {}: {what}", path.display()))
        })?;
        Ok(Self(Some(watched)))
    }

    /// Whether the server speaks TLS. This does not change.
    pub fn has_tls(&self) -> bool {
        self.0.as_ref().is_some_and(|watched| watched.has_tls)
    }

    /// How to speak TLS on a new connection, or `None` for no TLS.
    ///
    /// # Errors
    /// If the connection must be closed.
    pub(super) fn tls(&self) -> Result<Option<Arc<ServerConfig>>, Refusal> {
        match &self.0 {
            Some(watched) if watched.has_tls => watched.tls().map(Some),
            _ => Ok(None),
        }
    }

    /// Whether this configuration of TLS is still in force.
    pub(super) fn is_in_force(&self, config: &Arc<ServerConfig>) -> bool {
        self.tls().is_ok_and(|now| now.is_some_and(|now| Arc::ptr_eq(&now, config)))
    }

    /// The version of the files that lets clients in now.
    ///
    /// # Errors
    /// If nobody is let in.
    pub(super) fn version(&self) -> Result<Version, Refusal> {
        let rules = self.0.as_ref().map(Watched::rules).transpose()?;
        Ok(Version { rules, tls: self.tls()? })
    }

    /// Whether the files that let a client in at `version` are still the same.
    pub(super) fn is_still(&self, version: &Version) -> bool {
        fn are_same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
            a.as_ref().map(Arc::as_ptr) == b.as_ref().map(Arc::as_ptr)
        }
        self.version().is_ok_and(|now| are_same(&now.rules, &version.rules) && are_same(&now.tls, &version.tls))
    }

    /// Whether to answer a request with these fields, and fields to add to the answer.
    pub(super) async fn admit(&self, fields: &HeaderMap) -> (Result<(), Refusal>, Vec<(HeaderName, HeaderValue)>) {
        let Some(watched) = &self.0 else { return (Ok(()), Vec::new()) };
        let rules = match watched.rules() {
            Ok(rules) => rules,
            Err(refusal) => return (Err(refusal), Vec::new()),
        };
        let config = &rules.config;
        let admission = if !rules.take_token() {
            Err(Refusal::TooMany)
        } else if config.users.is_empty() {
            Ok(())
        } else {
            match watched.passwords.check(&config.users, fields.get(AUTHORIZATION)).await {
                Verdict::Right => Ok(()),
                Verdict::Wrong => Err(Refusal::Unauthorized),
                Verdict::Busy => Err(Refusal::Busy),
            }
        };
        (admission, config.headers.clone())
    }
}

impl Watched {
    fn new(path: &Path) -> Result<Self, String> {
        let has_tls = parse(path, &read(path)?)?.tls.is_some();
        let watched = Self { path: path.to_owned(), has_tls, passwords: Passwords::new()?, state: Mutex::default() };
        let rules = watched.read_rules(&mut watched.state())?;
        if has_tls {
            watched.read_tls(&mut watched.state(), &rules)?;
        }
        Ok(watched)
    }

    fn rules(&self) -> Result<Arc<Rules>, Refusal> {
        let state = &mut *self.state();
        let read = self.read_rules(state);
        state.rules_log.tell(&self.path, read)
    }

    fn tls(&self) -> Result<Arc<ServerConfig>, Refusal> {
        let rules = self.rules()?;
        let state = &mut *self.state();
        let read = self.read_tls(state, &rules);
        state.tls_log.tell(&self.path, read)
    }

    fn read_rules(&self, state: &mut State) -> Result<Arc<Rules>, String> {
        let bytes = read(&self.path)?;
        let digest = digest(&[&bytes]);
        let rules = match state.rules.take() {
            Some((last, rules)) if last == digest => rules,
            last => {
                let rules = self.rules_of(&bytes, digest, &mut state.guards);
                if let (Some((_, Ok(_))), Ok(_)) = (last, &rules) {
                    tracing::info!("the web configuration {} has changed and is in force", self.path.display());
                }
                rules
            }
        };
        state.rules = Some((digest, rules.clone()));
        rules
    }

    fn rules_of(
        &self,
        bytes: &[u8],
        digest: Digest,
        guards: &mut BTreeSet<&'static str>,
    ) -> Result<Arc<Rules>, String> {
        let config = parse(&self.path, bytes)?;
        if config.tls.is_some() && !self.has_tls {
            return Err("has tls_server_config now, which needs a restart".into());
        }
        let now = config.guards();
        if let Some(missing) = guards.difference(&now).next() {
            return Err(format!("has no {missing} any more: removing it needs a restart"));
        }
        *guards = now;
        let tokens = config.rate_limit.map_or(0.0, |limit| f64::from(limit.burst));
        Ok(Arc::new(Rules { digest, config, bucket: Mutex::new((tokens, Instant::now())) }))
    }

    fn read_tls(&self, state: &mut State, rules: &Rules) -> Result<Arc<ServerConfig>, String> {
        let tls = rules.config.tls.as_ref().ok_or("has no tls_server_config")?;
        let material = tls.read()?;
        let authorities = material.client_authorities.as_deref().unwrap_or_default();
        let digest = digest(&[&rules.digest, &material.certificates, &material.key, authorities]);
        let config = match state.tls.take() {
            Some((last, config)) if last == digest => config,
            last => {
                let config = tls.server_config(&material);
                if config.is_ok() {
                    tls.warn(&material);
                }
                if let (Some((_, Ok(_))), Ok(_)) = (last, &config) {
                    tracing::info!("the TLS files or their configuration have changed and are in force");
                }
                config
            }
        };
        state.tls = Some((digest, config.clone()));
        config
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    /// Takes a token of the rate limit, if there is a limit.
    fn take_token(&self) -> bool {
        let Some(RateLimit { interval, burst }) = self.config.rate_limit else { return true };
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(bucket.1).as_secs_f64() / interval.as_secs_f64();
        *bucket = ((bucket.0 + earned).min(f64::from(burst)), now);
        let is_left = bucket.0 >= 1.0;
        if is_left {
            bucket.0 -= 1.0;
        }
        is_left
    }
}

/// The last line of the log.
#[derive(Default)]
struct Log {
    wrong: Option<String>,
    at: Option<Instant>,
}

impl Log {
    /// Logs an error that differs from the last one, and the end of errors. It logs at most one line in each interval,
    /// however often it is called.
    fn tell<T>(&mut self, path: &Path, read: Result<T, String>) -> Result<T, Refusal> {
        let wrong = read.as_ref().err();
        if self.wrong.as_ref() != wrong && self.at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            match wrong {
                Some(wrong) => tracing::error!(
                    "the web configuration {}: {wrong}; nobody is let in until it is right again",
                    path.display()
                ),
                None => tracing::info!("the web configuration {} is right again", path.display()),
            }
            self.wrong = wrong.cloned();
            self.at = Some(Instant::now());
        }
        read.map_err(|_| Refusal::Misconfigured)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read_small(path).map_err(|error| format!("cannot be read: {error}"))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Config, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    config::parse(text, path.parent().unwrap_or(Path::new("")))
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_once_and_not_more_than_one_in_a_while() {
        let (mut log, path) = (Log::default(), Path::new("web.yml"));
        let wrong = |what: &str| Err::<(), _>(what.to_owned());
        assert_eq!(log.tell(path, Ok(7)), Ok(7));
        assert_eq!((&log.wrong, log.at), (&None, None), "nothing to say");
        assert_eq!(log.tell(path, wrong("a")), Err(Refusal::Misconfigured));
        assert_eq!((log.wrong.as_deref(), log.at.is_some()), (Some("a"), true));
        // Too early for anything else.
        log.at = Some(Instant::now() + Duration::from_secs(3_600));
        for read in [wrong("b"), Ok(())] {
            assert_eq!(log.tell(path, read.clone()).is_ok(), read.is_ok());
            assert_eq!(log.wrong.as_deref(), Some("a"));
        }
        log.at = None;
        assert!(log.tell(path, wrong("a")).is_err());
        assert_eq!(log.at, None, "it has been said");
        assert_eq!(log.tell(path, Ok(())), Ok(()));
        assert_eq!((&log.wrong, log.at.is_some()), (&None, true), "right again");
    }
}
