//! Families with a label value that peers or the node choose. In: any text. Out: a bounded number of series, by texts
//! of bounded length, with `x` in place of the letters and digits of addresses. It is the only label of its family.
//!
//! Reasons are Bitcoin Core's own texts. Peers choose only the numbers in them, so no peer can fill their places.

use std::collections::HashMap;

use prometheus::{GaugeVec, IntCounter, IntCounterVec, core::Collector};

use super::family::{Family, VALID, opts};
use crate::redact::masked;

/// How many bytes of UTF-8 to keep of a value. Bitcoin Core's reasons are shorter.
pub(super) const LENGTH: usize = 128;

/// Counts values that are not kept.
const OTHER: &str = "other";

/// Counts empty values.
const NONE: &str = "none";

/// Counts by text: a text that is not kept in `other`, an empty one in `none`.
pub(super) struct Texts {
    vec: IntCounterVec,
    kept: HashMap<String, IntCounter>,
    other: IntCounter,
    none: IntCounter,
}

impl Texts {
    /// How many series there are besides those of kept texts.
    #[cfg(test)]
    pub(super) const BESIDE: usize = 2;

    pub(super) fn define(name: &str, help: &str, label: &str) -> Self {
        let vec = IntCounterVec::new(opts(name, help), &[label]).expect(VALID);
        let [other, none] = [OTHER, NONE].map(|text| vec.with_label_values(&[text]));
        Self { vec, kept: HashMap::new(), other, none }
    }

    /// Keeps a new text if `has_place` says so. It receives the number of kept texts.
    pub(super) fn count(&mut self, text: &str, has_place: impl FnOnce(usize) -> bool) {
        if let Some(counter) = self.kept.get(text) {
            counter.inc();
        } else if text.is_empty() {
            self.none.inc();
        } else if text == OTHER || text == NONE || !has_place(self.kept.len()) {
            self.other.inc();
        } else {
            // Whoever writes an address into such a text gets no label with it.
            let counter = self.vec.with_label_values(&[&*masked(text)]);
            counter.inc();
            self.kept.insert(text.to_owned(), counter);
        }
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.vec.clone())
    }
}

/// Counts by reason. Shape: the label, and how many reasons to keep. Later reasons count in `other`, those without a
/// text in `none`.
///
/// A number that stands alone becomes `N`, so that each amount does not make a reason of its own.
pub(super) struct Reasons {
    texts: Texts,
    most: usize,
    /// A buffer for the reason, so that counting a kept one does not allocate.
    text: String,
}

impl Reasons {
    pub(super) fn count(&mut self, reason: &str) {
        without_numbers(reason, &mut self.text);
        self.texts.count(&self.text, |kept| kept < self.most);
    }
}

impl Family for Reasons {
    type Shape = (&'static str, usize);

    fn define(name: &str, help: &str, (label, most): Self::Shape) -> Self {
        Self { texts: Texts::define(name, help, label), most, text: String::with_capacity(LENGTH) }
    }

    fn collector(&self) -> Box<dyn Collector> {
        self.texts.collector()
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        self.most + Texts::BESIDE
    }
}

/// A gauge of 1 with a label for something that exists once. Shape: the label.
pub(super) struct Info {
    vec: GaugeVec,
    text: Option<String>,
}

impl Info {
    pub(super) fn set(&mut self, text: &str) {
        let text = cut(text, LENGTH);
        if self.text.as_deref() != Some(text) {
            self.vec.reset();
            self.vec.with_label_values(&[&*masked(text)]).set(1.0);
            self.text = Some(text.to_owned());
        }
    }

    /// The value is not known any more.
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

/// The beginning of a text: at most this many bytes, whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Replaces each word that is a number by `N`. Digits within a word, as in `non-BIP68-final`, are part of a name.
fn without_numbers(text: &str, into: &mut String) {
    into.clear();
    for piece in text.split_inclusive(is_between_words) {
        let word = piece.trim_end_matches(is_between_words);
        let after = &piece[word.len()..];
        for part in [if is_number(word) { "N" } else { word }, after] {
            let fits = cut(part, LENGTH - into.len());
            into.push_str(fits);
            if fits.len() < part.len() {
                return;
            }
        }
    }
}

fn is_between_words(char: char) -> bool {
    char.is_whitespace() || "=<>()[]{},;:/%\"'".contains(char)
}

/// `50001`, `-1`, `0.00001`.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits.split('.').all(is_digits)
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
        assert_eq!(normal("12.5 of -100 (0x2)"), "N of N (0x2)");
        assert_eq!(normal(&"ä".repeat(1000)), "ä".repeat(LENGTH / 2));
        assert_eq!(normal(&format!("a{}", "ä".repeat(1000))), format!("a{}", "ä".repeat(LENGTH / 2 - 1)));
        assert_eq!(cut(&format!("a{}", "ä".repeat(1000)), LENGTH), format!("a{}", "ä".repeat(LENGTH / 2 - 1)));
        assert_eq!(normal(&"9".repeat(1000)), "N");
        assert_eq!(normal(&"9,".repeat(1000)), "N,".repeat(LENGTH / 2));
    }

    #[test]
    fn ten_thousand_reasons_make_few_series_and_none_is_forgotten() {
        let mut reasons = Reasons::define("reasons_total", "Help.", ("reason", 5));
        let other = "bitcointap_reasons_total{reason=\"other\"} 0";
        assert_eq!(lines_of(reasons.collector()), ["bitcointap_reasons_total{reason=\"none\"} 0", other]);
        let letters = |number: u32| number.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect::<String>();
        for number in 0..10_000 {
            reasons.count(&letters(number));
        }
        reasons.count("a");
        reasons.count("");
        reasons.count("other");
        reasons.count("none");
        let expected = [("a", 2), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("none", 1), ("other", 9_997)];
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
