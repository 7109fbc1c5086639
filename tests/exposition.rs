//! The text of /metrics, as samples that can be summed up.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// The body of an answer of status 200; `None` while nobody listens, or for another status.
pub fn get(address: &str, path: &str) -> Option<String> {
    get_any(address, path).and_then(|(status, body)| (status == 200).then_some(body))
}

/// Status and body of an answer; `None` while nobody listens.
pub fn get_any(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The samples of one scrape.
pub struct Exposition {
    samples: Vec<(String, f64)>,
}

impl Exposition {
    /// Scrapes; `None` while nobody listens.
    pub fn scrape(address: &str) -> Option<Self> {
        Some(Self::parse(&get(address, "/metrics")?))
    }

    pub fn parse(body: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
            (name.to_owned(), value.parse().expect("a value is a number"))
        };
        Self { samples: body.lines().filter(|line| !line.starts_with('#')).map(sample).collect() }
    }

    /// The sum of the samples of `bitcointap_<family>` that have all these labels.
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |name: &str| {
            let (family_name, text) = name.split_once('{').unwrap_or((name, ""));
            let has = |&(label, value): &(&str, &str)| {
                let pair = format!("{label}=\"{value}\"");
                text.trim_end_matches('}').split(',').any(|found| found == pair)
            };
            family_name.strip_prefix("bitcointap_") == Some(family) && labels.iter().all(has)
        };
        self.samples.iter().filter(|(name, _)| matches(name)).map(|(_, value)| value).sum()
    }

    /// Whether the family has any sample.
    pub fn has(&self, family: &str) -> bool {
        let name = format!("bitcointap_{family}");
        self.samples.iter().any(|(sample, _)| sample.split('{').next() == Some(&name))
    }
}
