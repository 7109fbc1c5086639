//! Families whose label value the world chooses. In: any text. Out: a bounded number of series, by texts of bounded
//! length. It is the only label of its family.

use std::collections::HashMap;

use prometheus::{GaugeVec, IntCounter, IntCounterVec, core::Collector};

use super::family::{Family, VALID, opts};

/// Bytes of UTF-8 that are kept of a value. Bitcoin Core's reasons are shorter.
pub(super) const LENGTH: usize = 128;

/// Counts what has the place of a value that is not kept.
pub(super) const OTHER: &str = "other";

/// Counts by reason. Shape: the label, and how many reasons are kept; those that come later count in `other`.
///
/// Runs of digits become `N`, so that an amount or a height makes no reason of its own.
pub(super) struct Reasons {
    vec: IntCounterVec,
    kept: HashMap<String, IntCounter>,
    other: IntCounter,
    most: usize,
    /// The reason in hand, to count one that is kept without allocating.
    text: String,
}

impl Reasons {
    pub(super) fn count(&mut self, reason: &str) {
        without_numbers(reason, &mut self.text);
        if let Some(counter) = self.kept.get(&self.text) {
            counter.inc();
        } else if self.kept.len() >= self.most || self.text.is_empty() || self.text == OTHER {
            // An empty value would be the same as no label.
            self.other.inc();
        } else {
            let counter = self.vec.with_label_values(&[&self.text]);
            counter.inc();
            self.kept.insert(self.text.clone(), counter);
        }
    }
}

impl Family for Reasons {
    type Shape = (&'static str, usize);

    fn define(name: &str, help: &str, (label, most): Self::Shape) -> Self {
        let vec = IntCounterVec::new(opts(name, help), &[label]).expect(VALID);
        let other = vec.with_label_values(&[OTHER]);
        Self { vec, kept: HashMap::new(), other, most, text: String::with_capacity(LENGTH) }
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.vec.clone())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        self.most + 1
    }
}

/// A gauge of 1 whose label says something that there is one of. Shape: the label.
pub(super) struct Info {
    vec: GaugeVec,
    text: Option<String>,
}

impl Info {
    pub(super) fn set(&mut self, text: &str) {
        let text = cut(text, LENGTH);
        if self.text.as_deref() != Some(text) {
            self.vec.reset();
            self.vec.with_label_values(&[text]).set(1.0);
            self.text = Some(text.to_owned());
        }
    }

    /// It is not known any more.
    pub(super) fn clear(&mut self) {
        self.vec.reset();
        self.text = None;
    }
}

impl Family for Info {
    type Shape = &'static str;

    fn define(name: &str, help: &str, label: Self::Shape) -> Self {
        Self { vec: GaugeVec::new(opts(name, help), &[label]).expect(VALID), text: None }
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.vec.clone())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        1
    }
}

/// At most so many bytes of it, whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

fn without_numbers(text: &str, into: &mut String) {
    into.clear();
    let mut after_digit = false;
    for char in text.chars() {
        let is_digit = char.is_ascii_digit();
        if !(is_digit && after_digit) {
            let char = if is_digit { 'N' } else { char };
            if into.len() + char.len_utf8() > LENGTH {
                break;
            }
            into.push(char);
        }
        after_digit = is_digit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::lines_of;

    fn normal(text: &str) -> String {
        let mut normal = String::new();
        without_numbers(text, &mut normal);
        normal
    }

    #[test]
    fn reasons_lose_their_numbers_and_keep_valid_utf8() {
        assert_eq!(normal("getdata message size = 50001"), "getdata message size = N");
        assert_eq!(normal("12.5 of 100"), "N.N of N");
        assert_eq!(normal(&"ä".repeat(1000)), "ä".repeat(LENGTH / 2));
        assert_eq!(normal(&format!("a{}", "ä".repeat(1000))), format!("a{}", "ä".repeat(LENGTH / 2 - 1)));
        assert_eq!(cut(&format!("a{}", "ä".repeat(1000)), LENGTH), format!("a{}", "ä".repeat(LENGTH / 2 - 1)));
        assert_eq!(normal(&"9".repeat(1000)), "N");
    }

    #[test]
    fn ten_thousand_reasons_make_few_series_and_none_is_forgotten() {
        let mut reasons = Reasons::define("reasons_total", "Help.", ("reason", 5));
        assert_eq!(lines_of(reasons.collector()), ["bitcointap_reasons_total{reason=\"other\"} 0"]);
        let letters = |number: u32| number.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect::<String>();
        for number in 0..10_000 {
            reasons.count(&letters(number));
        }
        reasons.count("a");
        reasons.count("");
        reasons.count("other");
        let expected = [("a", 2), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("other", 9_997)];
        let expected = expected.map(|(reason, n)| format!("bitcointap_reasons_total{{reason=\"{reason}\"}} {n}"));
        assert_eq!(lines_of(reasons.collector()), expected);
    }

    #[test]
    fn an_info_has_one_series_at_a_time() {
        let mut info = Info::define("what_info", "Help.", "what");
        assert!(lines_of(info.collector()).is_empty());
        info.set("one");
        info.set("two\n\"");
        assert_eq!(lines_of(info.collector()), ["bitcointap_what_info{what=\"two\\n\\\"\"} 1"]);
        info.clear();
        assert!(lines_of(info.collector()).is_empty());
    }
}
