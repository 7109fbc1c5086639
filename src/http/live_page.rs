//! The live page. In: what a node does now, in a state that it shares with the thread that feeds it. Out: a page for
//! browsers, its scripts and styles, and the state as JSON, which the page requests each second.
//!
//! Peers choose much of what it shows. Markup or scripts from a peer do nothing: the page shows everything as text, and
//! its content security policy runs only its own files.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::body::Bytes;

use super::encoding;
use crate::live::Live;

/// What the page shows, as JSON. Its form follows this version's page, and is no contract with others.
pub const LIVE_PATH: &str = "/api/live";

/// Nothing from elsewhere, nothing inline, no frames around it.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                                  connect-src 'self'; img-src 'self'; base-uri 'none'; \
                                                  form-action 'none'; frame-ancestors 'none'";

/// The server renders the state at most this often for all viewers.
const MADE_EVERY: Duration = Duration::from_millis(500);

pub(super) const HTML: &str = include_str!("live_page/page.html");
/// Where the page has its links to other pages.
const LINKS: &str = "<!-- links -->";

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Further files of the page: path, type, text.
pub(super) const FILES: [(&str, &str, &str); 15] = [
    ("/live/style.css", STYLE, include_str!("live_page/style.css")),
    ("/live/figures.css", STYLE, include_str!("live_page/figures.css")),
    ("/live/tables.css", STYLE, include_str!("live_page/tables.css")),
    ("/live/windows.css", STYLE, include_str!("live_page/windows.css")),
    ("/live/icon.svg", "image/svg+xml", include_str!("live_page/icon.svg")),
    ("/live/main.js", SCRIPT, include_str!("live_page/main.js")),
    ("/live/poll.js", SCRIPT, include_str!("live_page/poll.js")),
    ("/live/dom.js", SCRIPT, include_str!("live_page/dom.js")),
    ("/live/text.js", SCRIPT, include_str!("live_page/text.js")),
    ("/live/overview.js", SCRIPT, include_str!("live_page/overview.js")),
    ("/live/sight.js", SCRIPT, include_str!("live_page/sight.js")),
    ("/live/netinfo.js", SCRIPT, include_str!("live_page/netinfo.js")),
    ("/live/charts.js", SCRIPT, include_str!("live_page/charts.js")),
    ("/live/tables.js", SCRIPT, include_str!("live_page/tables.js")),
    ("/live/logs.js", SCRIPT, include_str!("live_page/logs.js")),
];

/// Whether this path belongs to the live page, if there is one.
pub fn is_path_of_live_page(path: &str) -> bool {
    path == LIVE_PATH || file(path).is_some()
}

/// Type and text of one of its files.
pub(super) fn file(path: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(name, ..)| *name == path).map(|&(_, content_type, text)| (content_type, text))
}

/// The page, with links in it.
pub(super) fn html(links: &str) -> String {
    HTML.replace(LINKS, links)
}

/// The rendered state, renewed when that is due.
#[derive(Debug)]
pub(super) struct Shown {
    live: Arc<Mutex<Live>>,
    made: Mutex<Option<Made>>,
}

/// The last rendering, which all viewers share.
#[derive(Debug)]
struct Made {
    at: Instant,
    json: Bytes,
    /// Made once somebody wants it.
    zipped: Option<Bytes>,
}

impl Shown {
    pub(super) fn new(live: Arc<Mutex<Live>>) -> Self {
        Self { live, made: Mutex::default() }
    }

    /// The state, no older than [`MADE_EVERY`], and whether it is compressed.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub(super) fn json(&self, now: Instant, wants_gzip: bool) -> serde_json::Result<(Bytes, bool)> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = match &mut *made {
            Some(made) if now.saturating_duration_since(made.at) < MADE_EVERY => made,
            made => made.insert(self.make(now)?),
        };
        if !wants_gzip {
            return Ok((made.json.clone(), false));
        }
        if made.zipped.is_none() {
            made.zipped = encoding::gzip(&made.json).ok().map(Bytes::from);
        }
        Ok(made.zipped.clone().map_or((made.json.clone(), false), |zipped| (zipped, true)))
    }

    fn make(&self, at: Instant) -> serde_json::Result<Made> {
        // The thread that feeds the state waits only for a copy.
        let snapshot = self.live.lock().unwrap_or_else(PoisonError::into_inner).snapshot();
        Ok(Made { at, json: serde_json::to_vec(&snapshot)?.into(), zipped: None })
    }
}
