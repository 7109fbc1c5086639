//! Which form of an answer a client wants. In: the Accept and Accept-Encoding fields of a request (RFC 9110, 12.5).
//! Out: the text format, and whether to compress with gzip; and the compressed bytes.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use hyper::{
    HeaderMap,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderName},
};

/// Whether the client accepts gzip, and prefers it or likes it as much as no encoding.
pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for element in elements(headers, ACCEPT_ENCODING) {
        let (coding, parameters) = element.split_once(';').unwrap_or((element, ""));
        let weight = if parameters.trim().is_empty() { 1.0 } else { weight(parameters) };
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "identity" => identity = Some(weight),
            "*" => any = Some(weight),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// Whether the client names the text format of OpenMetrics 1.0, and does not prefer the classic one.
pub(super) fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let mut openmetrics: f32 = 0.0;
    // The weight of its most exact name counts.
    let mut classic = [None, None, None];
    for element in elements(headers, ACCEPT) {
        let (range, parameters) = element.split_once(';').unwrap_or((element, ""));
        let (mut version, mut wanted) = (None, 1.0);
        for parameter in parameters.split(';').filter(|parameter| !parameter.trim().is_empty()) {
            match parameter.split_once('=') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("version") => {
                    version = Some(value.trim().trim_matches('"'));
                }
                Some((name, _)) if !name.trim().eq_ignore_ascii_case("q") => {}
                _ => wanted = weight(parameter),
            }
        }
        let of = match (range.trim().to_ascii_lowercase().as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => {
                openmetrics = openmetrics.max(wanted);
                continue;
            }
            ("text/plain", None | Some("0.0.4")) => 0,
            ("text/*", _) => 1,
            ("*/*", _) => 2,
            _ => continue,
        };
        classic[of] = Some(classic[of].map_or(wanted, |other: f32| other.max(wanted)));
    }
    let classic = classic.into_iter().flatten().next().unwrap_or(0.0);
    openmetrics > 0.0 && openmetrics >= classic
}

/// Whether the client wants server-sent events rather than lines of JSON: more, or as much if it names them.
pub(super) fn wants_server_sent_events(headers: &HeaderMap) -> bool {
    // By name, by type, by any: the most exact counts.
    let (mut events, mut lines) = ([None, None, None], [None, None, None]);
    for element in elements(headers, ACCEPT) {
        let (range, parameters) = element.split_once(';').unwrap_or((element, ""));
        let is_weight = |parameter: &&str| parameter.trim_start().to_ascii_lowercase().starts_with('q');
        let wanted = parameters.split(';').find(is_weight).map_or(1.0, weight);
        let note = |weights: &mut [Option<f32>; 3], exactness: usize| {
            weights[exactness] = Some(weights[exactness].map_or(wanted, |other| other.max(wanted)));
        };
        match range.trim().to_ascii_lowercase().as_str() {
            "text/event-stream" => note(&mut events, 0),
            "text/*" => note(&mut events, 1),
            "application/x-ndjson" => note(&mut lines, 0),
            "application/*" => note(&mut lines, 1),
            "*/*" => {
                note(&mut events, 2);
                note(&mut lines, 2);
            }
            _ => {}
        }
    }
    let is_named = events[0].is_some();
    let [events, lines] = [events, lines].map(|weights| weights.into_iter().flatten().next().unwrap_or(0.0));
    events > lines || is_named && events > 0.0 && events == lines
}

/// The elements of all fields with this name.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(','))
}

/// The weight of a parameter `q`. One that cannot be read counts as not wanted.
fn weight(parameter: &str) -> f32 {
    let value = match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => value.trim().parse().ok(),
        _ => None,
    };
    value.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0)
}

/// The text compressed, if the client wants that.
pub(super) fn gzip_if_wanted(headers: &HeaderMap, text: &[u8]) -> Option<Vec<u8>> {
    wants_gzip(headers).then(|| gzip(text)).and_then(Result::ok)
}

/// Compresses fast: the text of metrics shrinks well at any level, and Prometheus waits for it.
pub(super) fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(fields: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT_ENCODING, field.parse().unwrap());
        }
        wants_gzip(&headers)
    }

    #[test]
    fn gzip_is_for_who_accepts_it() {
        for fields in [
            &["gzip"][..],
            &["deflate, GZip;q=0.5"],
            &["br", "gzip ; Q = 0.001"],
            &["*"],
            &["x-gzip"],
            &["gzip;q=1.000,identity;q=0"],
            &["*;q=0, gzip"],
        ] {
            assert!(wants(fields), "{fields:?}");
        }
        for fields in [
            &[][..],
            &[""],
            &["identity"],
            &["gzip;q=0"],
            &["gzip; q=0.000, *"],
            &["*;q=0"],
            &["deflate, br, zstd"],
            &["gzip;q=0.5, identity"],
            &["gzip;q=2"],
            &["gzip;q=nan"],
            &["gzip;q"],
            &["gzipped"],
        ] {
            assert!(!wants(fields), "{fields:?}");
        }
    }

    #[test]
    fn server_sent_events_are_for_who_prefers_them() {
        let wants = |field: &str| wants_server_sent_events(&[(ACCEPT, field.parse().unwrap())].into_iter().collect());
        for field in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8 ; Q=0.1",
            "text/event-stream, */*",
            "text/event-stream;q=0.5, application/x-ndjson;q=0.5",
            "text/event-stream;q=0.2, application/*;q=0.1, */*",
            "text/*",
            "text/*, application/x-ndjson;q=0.9",
        ] {
            assert!(wants(field), "{field}");
        }
        for field in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/x-ndjson",
            "text/event-stream;q=0.4, application/x-ndjson;q=0.5",
            "text/event-stream;q=0.4, */*",
            "text/event-stream;q=0, */*",
            "text/event-stream;q=0",
            "text/event-stream;q=x",
            "text/event-streams",
            ";;,=;,",
        ] {
            assert!(!wants(field), "{field}");
        }
    }

    #[test]
    fn openmetrics_is_for_who_prefers_it() {
        let wants = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(ACCEPT, field.parse().unwrap());
            }
            wants_openmetrics(&headers)
        };
        for fields in [
            // Prometheus 2.42, and 3.
            &["application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
               text/plain;version=0.0.4;q=0.5,*/*;q=0.1"][..],
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
               application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
               text/plain;version=0.0.4;q=0.2,*/*;q=0.1"],
            &["application/openmetrics-text"],
            &["Application/OpenMetrics-Text ; Version=\"1.0.0\" ; charset=utf-8 ; Q=0.1"],
            &["text/plain;q=0.5", "application/openmetrics-text;q=0.5"],
            &["text/*;q=0.9, text/plain;q=0.1, application/openmetrics-text;q=0.5"],
        ] {
            assert!(wants(fields), "{fields:?}");
        }
        for fields in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html,application/xhtml+xml,*/*;q=0.8"],
            &["application/*"],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-text;version=2.0.0"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.4"],
            &["application/openmetrics-text;q=0.3,*/*;q=0.4"],
            &["application/openmetrics-text;q=x"],
            &["application/openmetrics-text;q"],
            &["application/openmetrics-text;q=2"],
            &["application/openmetrics-texts"],
            &["application/openmetrics-text q=1"],
            &[";;,=;,"],
        ] {
            assert!(!wants(fields), "{fields:?}");
        }
    }
}
