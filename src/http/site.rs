//! What the HTTP server answers. In: requests, whether they are let in, a registry, streams of events, what the node
//! does now, and whether bitcointap is attached. Out: responses, counted by path and code.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
        HeaderValue, REFERRER_POLICY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use prometheus::{IntCounterVec, Registry, TextEncoder};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{
    encoding,
    freshness::Freshness,
    gate::Refusal,
    live_page::{self, LIVE_PATH, Shown},
    openmetrics,
    recording::{self, Download},
    streams::{self, Events, Framing, Streams},
};
use crate::{flight_recorder::Recorder, live::Live, metrics::HTTP_PATHS};

/// Streams events.
pub const EVENTS_PATH: &str = "/events";
/// Gives a recording of the newest events.
pub const RECORDING_PATH: &str = "/recording";
/// Says that the server answers.
pub const HEALTHY_PATH: &str = "/-/healthy";
/// Says whether bitcointap is attached to the node.
pub const READY_PATH: &str = "/-/ready";

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const EVENT_STREAM: &str = "text/event-stream";

/// How long a recording waits for events that are on their way to it, and how often to look.
const CATCHING_UP: Duration = Duration::from_secs(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Warns the reader of a stream of what may be a mistake. RFC 9111 dropped HTTP's own `Warning`.
const WARNING: HeaderName = HeaderName::from_static("bitcointap-warning");

/// The body of an answer.
pub(super) enum Page {
    Whole(Bytes),
    /// Does not end by itself.
    Events(Events),
    Recording(Download),
}

/// Whether answers at this path are streams: they last as long as the client reads, and there are only so many at once.
pub(super) fn is_streamed(path: &str) -> bool {
    [EVENTS_PATH, RECORDING_PATH].contains(&path)
}

/// Whether bitcointap is attached to the node, for [`READY_PATH`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Result<(), String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Err("looking for the node".into()))))
    }
}

impl Readiness {
    /// bitcointap is attached.
    pub fn attached(&self) {
        self.set(Ok(()));
    }

    /// bitcointap is not attached, for a reason in a line of text.
    pub fn not_attached(&self, why: &str) {
        self.set(Err(why.to_owned()));
    }

    fn set(&self, state: Result<(), String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn get(&self) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the server serves.
#[derive(Debug)]
pub struct Site {
    telemetry_path: String,
    registry: Registry,
    requests: IntCounterVec,
    readiness: Readiness,
    streams: Streams,
    recorder: Recorder,
    live: Option<Shown>,
    freshness: Option<Freshness>,
    scrapes: Arc<Semaphore>,
    max_scrapes: u32,
}

impl Site {
    /// Serves `registry` at `telemetry_path`, to at most `max_scrapes` requests at once (0 is no limit), and `streams`
    /// at [`EVENTS_PATH`]. `requests` counts by path and code.
    pub fn new(
        telemetry_path: String,
        registry: Registry,
        requests: IntCounterVec,
        readiness: Readiness,
        streams: Streams,
        max_scrapes: u32,
    ) -> Self {
        let permits = if max_scrapes == 0 { Semaphore::MAX_PERMITS } else { max_scrapes as usize };
        let scrapes = Arc::new(Semaphore::new(permits));
        let (live, freshness, recorder) = (None, None, Recorder::default());
        Self { telemetry_path, registry, requests, readiness, streams, recorder, live, freshness, scrapes, max_scrapes }
    }

    /// Serves what the flight recorder holds at [`RECORDING_PATH`], under the same rules as streams.
    pub fn with_recorder(self, recorder: Recorder) -> Self {
        Self { recorder, ..self }
    }

    /// Adds a live page at `/`, which shows this state. The thread that feeds it holds the lock only briefly.
    pub fn with_live_page(self, live: Arc<Mutex<Live>>) -> Self {
        Self { live: Some(Shown::new(live)), ..self }
    }

    /// Drains the tap before answers that contain its events.
    pub fn with_freshness(self, freshness: Freshness) -> Self {
        Self { freshness: Some(freshness), ..self }
    }

    /// What has to be told of the node.
    pub(super) fn fed(&self) -> (Readiness, Streams, Option<Freshness>) {
        (self.readiness.clone(), self.streams.clone(), self.freshness.clone())
    }

    /// Waits until the answer to this request contains everything that has fired by now.
    pub(super) async fn freshen(&self, request: &Request<impl Body>) {
        let path = request.uri().path();
        let shows_events = path == self.telemetry_path || [EVENTS_PATH, LIVE_PATH].contains(&path);
        match &self.freshness {
            Some(freshness) if shows_events => freshness.now().await,
            Some(freshness) if path == RECORDING_PATH => freshness.for_recording().await,
            Some(_) | None => {}
        }
        if path == RECORDING_PATH {
            let (catches_up, begun) = (self.recorder.catches_up(), Instant::now());
            while !catches_up() && begun.elapsed() < CATCHING_UP {
                sleep(LOOK_INTERVAL).await;
            }
        }
    }

    pub(super) fn telemetry_path(&self) -> &str {
        &self.telemetry_path
    }

    pub(super) fn respond(&self, request: &Request<impl Body>, admission: Result<(), Refusal>) -> Response<Page> {
        let [metrics, events, recording, landing, live, healthy, ready, other] = HTTP_PATHS;
        let path = match request.uri().path() {
            path if path == self.telemetry_path => metrics,
            EVENTS_PATH => events,
            RECORDING_PATH => recording,
            "/" => landing,
            LIVE_PATH => live,
            HEALTHY_PATH => healthy,
            READY_PATH => ready,
            path if self.live.is_some() && live_page::file(path).is_some() => landing,
            _ => other,
        };
        let response = if let Err(refusal) = admission {
            refused(refusal)
        } else if path == other {
            response(StatusCode::NOT_FOUND, PLAIN, "there is no such page: / has links to all pages\n")
        } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
            with_header(response, ALLOW, "GET, HEAD")
        } else if path == metrics {
            self.metrics(request.headers())
        } else if path == events {
            self.events(request)
        } else if path == recording {
            recording::respond(&self.recorder, &self.streams, request)
        } else if path == live {
            self.live(request.headers())
        } else if path == healthy {
            response(StatusCode::OK, PLAIN, "ok\n")
        } else if path == ready {
            match self.readiness.get() {
                Ok(()) => response(StatusCode::OK, PLAIN, "ready\n"),
                Err(why) => response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
            }
        } else {
            self.landing(request)
        };
        self.requests.with_label_values(&[path, response.status().as_str()]).inc();
        response
    }

    fn events(&self, request: &Request<impl Body>) -> Response<Page> {
        let query = request.uri().query().unwrap_or_default();
        let (framing, content_type) = if encoding::wants_server_sent_events(request.headers()) {
            (Framing::ServerSentEvents, EVENT_STREAM)
        } else {
            (Framing::Lines, NDJSON)
        };
        let mut response = response(StatusCode::OK, content_type, "");
        let told = if request.method() == Method::HEAD {
            self.streams.check(query)
        } else {
            self.streams.open(query, framing).map(|(events, place, beginning, doubts)| {
                *response.body_mut() = Page::Events(events);
                response.extensions_mut().insert(place);
                response.extensions_mut().insert(beginning);
                // From now on its reader waits for each event.
                self.freshness.iter().for_each(|freshness| {
                    freshness.wake();
                });
                doubts
            })
        };
        match told {
            Ok(doubts) => {
                let values = doubts.iter().filter_map(|doubt| HeaderValue::from_str(doubt).ok());
                values.for_each(|value| {
                    response.headers_mut().append(WARNING, value);
                });
            }
            Err(refusal) => return no_stream(refusal),
        }
        let response = with_header(response, VARY, "Accept");
        let response = with_header(response, CACHE_CONTROL, "no-store");
        // For nginx, which would hold lines back until it has many.
        let response = with_header(response, HeaderName::from_static("x-accel-buffering"), "no");
        // The process ends when the stream does.
        with_header(response, CONNECTION, "close")
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Page> {
        let Ok(permit) = Arc::clone(&self.scrapes).try_acquire_owned() else {
            let words = format!("the limit of scrapes at once, {}, is reached: try again later\n", self.max_scrapes);
            return response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, words);
        };
        let families = self.registry.gather();
        let (content_type, text) = if encoding::wants_openmetrics(headers) {
            (openmetrics::CONTENT_TYPE, Ok(openmetrics::encode(&families)))
        } else {
            (TEXT_FORMAT, TextEncoder::new().encode_to_string(&families))
        };
        drop(families);
        let text = match text {
            Ok(text) => text.into_bytes(),
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics as text");
                return response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "cannot write the metrics, see the log\n");
            }
        };
        let zipped = encoding::gzip_if_wanted(headers, &text);
        let is_zipped = zipped.is_some();
        let body = Bytes::from_owner(Scrape { body: zipped.unwrap_or(text), _permit: permit });
        let response = with_header(response(StatusCode::OK, content_type, body), VARY, "Accept, Accept-Encoding");
        if is_zipped { with_header(response, CONTENT_ENCODING, "gzip") } else { response }
    }

    fn live(&self, headers: &HeaderMap) -> Response<Page> {
        let Some(shown) = &self.live else {
            let words = "there is no live page: start export without --web.disable-live-page\n";
            return response(StatusCode::NOT_FOUND, PLAIN, words);
        };
        let (json, is_zipped) = match shown.json(Instant::now(), encoding::wants_gzip(headers)) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "cannot write the live state as JSON");
                return response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "cannot write it as JSON, see the log\n");
            }
        };
        with_header(of_live_page(JSON, json, is_zipped), CACHE_CONTROL, "no-store")
    }

    /// The page at `/`, or a file of it.
    fn landing(&self, request: &Request<impl Body>) -> Response<Page> {
        if self.live.is_none() {
            return response(StatusCode::OK, HTML, self.landing_page());
        }
        let (content_type, text) = match live_page::file(request.uri().path()) {
            Some((content_type, text)) => (content_type, Bytes::from_static(text.as_bytes())),
            None => (HTML, live_page::html(&self.links()).into()),
        };
        let zipped = encoding::gzip_if_wanted(request.headers(), &text);
        let is_zipped = zipped.is_some();
        // An upgrade shows at once.
        with_header(of_live_page(content_type, zipped.map_or(text, Bytes::from), is_zipped), CACHE_CONTROL, "no-cache")
    }

    /// Links from the live page to the others. They are relative, since a proxy may put all of them below a path of its
    /// own.
    fn links(&self) -> String {
        let events = if self.streams.are_on() { EVENTS_PATH } else { "" };
        let recording = if self.gives_recordings() { RECORDING_PATH } else { "" };
        let links = [
            (&*self.telemetry_path, "metrics"),
            (events, "events"),
            (recording, "recording"),
            (HEALTHY_PATH, "healthy"),
            (READY_PATH, "ready"),
        ];
        let shown = links.iter().filter(|(path, _)| !path.is_empty());
        shown.map(|(path, name)| format!("<a href=\".{}\">{name}</a>\n", escaped(path))).collect()
    }

    fn gives_recordings(&self) -> bool {
        self.streams.are_on() && self.recorder.is_on()
    }

    fn landing_page(&self) -> String {
        let path = escaped(&self.telemetry_path);
        let events = if self.streams.are_on() {
            format!("<p>Its events, as they come: <a href=\"{EVENTS_PATH}\">{EVENTS_PATH}</a></p>\n")
        } else {
            String::new()
        };
        let recording = if self.gives_recordings() {
            format!("<p>A recording of the newest: <a href=\"{RECORDING_PATH}\">{RECORDING_PATH}</a></p>\n")
        } else {
            String::new()
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>bitcointap</title></head>\n\
             <body>\n<h1>bitcointap</h1>\n<p>Metrics of a Bitcoin Core node: <a href=\"{path}\">{path}</a></p>\n\
             {events}{recording}<p>Of bitcointap: <a href=\"{HEALTHY_PATH}\">healthy</a>, <a href=\"{READY_PATH}\">ready</a></p>\n\
             </body>\n</html>\n"
        )
    }
}

fn escaped(path: &str) -> String {
    path.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// No browser may take it for another type, and no other site learns of it.
fn of_live_page(content_type: &'static str, body: Bytes, is_zipped: bool) -> Response<Page> {
    let response = response(StatusCode::OK, content_type, body);
    let response = with_header(response, CONTENT_SECURITY_POLICY, live_page::CONTENT_SECURITY_POLICY);
    let response = with_header(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    let response = with_header(response, REFERRER_POLICY, "no-referrer");
    let response = with_header(response, VARY, "Accept-Encoding");
    if is_zipped { with_header(response, CONTENT_ENCODING, "gzip") } else { response }
}

/// The body of a scrape. It counts as one of the scrapes at once until the kernel has taken its last byte.
struct Scrape {
    body: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Scrape {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

pub(super) fn no_stream(refusal: streams::Refusal) -> Response<Page> {
    match refusal {
        streams::Refusal::Off(words) => response(StatusCode::NOT_FOUND, PLAIN, format!("{words}\n")),
        streams::Refusal::Wrong(words) => response(StatusCode::BAD_REQUEST, PLAIN, format!("{words}\n")),
        streams::Refusal::Full(most) => {
            let words = format!("the limit of streams at once, {most}, is reached: try again later\n");
            response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, words)
        }
        streams::Refusal::Ending => response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stopping\n"),
        streams::Refusal::Failed => {
            response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "cannot start a stream, see the log\n")
        }
    }
}

fn refused(refusal: Refusal) -> Response<Page> {
    match refusal {
        Refusal::PlainText => {
            let words = "this is an HTTPS server, and the request came by HTTP: ask for https://\n";
            with_header(response(StatusCode::BAD_REQUEST, PLAIN, words), CONNECTION, "close")
        }
        Refusal::Unauthorized => {
            let response = response(StatusCode::UNAUTHORIZED, PLAIN, "this server needs a user and a password\n");
            with_header(response, WWW_AUTHENTICATE, "Basic")
        }
        Refusal::TooMany => {
            response(StatusCode::TOO_MANY_REQUESTS, PLAIN, "the rate limit is reached: try again later\n")
        }
        Refusal::Busy => {
            let words = "too many passwords are being checked: try again later\n";
            // Makes room for others.
            with_header(response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, words), CONNECTION, "close")
        }
        Refusal::Misconfigured => {
            response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "the web configuration is wrong, see the log\n")
        }
    }
}

pub(super) fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Page> {
    let mut response = Response::new(Page::Whole(body.into()));
    *response.status_mut() = status;
    with_header(response, CONTENT_TYPE, content_type)
}

pub(super) fn with_header<T>(mut response: Response<T>, name: HeaderName, value: &'static str) -> Response<T> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
