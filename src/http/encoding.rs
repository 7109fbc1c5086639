//! Which encoding of an answer a client wants. In: the Accept-Encoding fields of a request (RFC 9110, 12.5.3). Out: whether
//! to compress by gzip, and the compressed bytes.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use hyper::{HeaderMap, header::ACCEPT_ENCODING};

/// Whether gzip is accepted, and not less than no encoding at all.
pub(super) fn wants_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|field| field.to_str().ok());
    for element in fields.flat_map(|field| field.split(',')) {
        let (coding, parameters) = element.split_once(';').unwrap_or((element, ""));
        let weight = weight(parameters);
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

/// That of a coding; one that cannot be read is as if the coding were not wanted.
fn weight(parameters: &str) -> f32 {
    if parameters.trim().is_empty() {
        return 1.0;
    }
    let value = match parameters.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("q") => value.trim().parse().ok(),
        _ => None,
    };
    value.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0)
}

/// Compresses fast: the text of metrics shrinks well at any level, and a scrape is waited for.
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
}
