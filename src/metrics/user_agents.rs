//! User agents, which peers choose. In: any text. Out: a bounded number of series, so that made-up ones do not
//! take the places of Bitcoin Core's releases.

use std::collections::HashMap;

use prometheus::{IntCounter, IntCounterVec, core::Collector};

use super::{
    family::{Family, VALID, opts},
    free_form::{LENGTH, OTHER, cut},
};

/// Counts by user agent. Shape: the label, and how many are kept, the first half of them Bitcoin Core's releases; those that
/// come later count in `other`.
pub(super) struct UserAgents {
    vec: IntCounterVec,
    releases: Kept,
    others: Kept,
    other: IntCounter,
}

struct Kept {
    counters: HashMap<String, IntCounter>,
    most: usize,
}

impl UserAgents {
    pub(super) fn count(&mut self, user_agent: &str) {
        let user_agent = cut(user_agent, LENGTH);
        let kept = if is_release(user_agent) { &mut self.releases } else { &mut self.others };
        if let Some(counter) = kept.counters.get(user_agent) {
            counter.inc();
        } else if kept.counters.len() >= kept.most || user_agent.is_empty() || user_agent == OTHER {
            // An empty value would be the same as no label.
            self.other.inc();
        } else {
            let counter = self.vec.with_label_values(&[user_agent]);
            counter.inc();
            kept.counters.insert(user_agent.to_owned(), counter);
        }
    }
}

impl Family for UserAgents {
    type Shape = (&'static str, usize);

    fn define(name: &str, help: &str, (label, most): Self::Shape) -> Self {
        let vec = IntCounterVec::new(opts(name, help), &[label]).expect(VALID);
        let other = vec.with_label_values(&[OTHER]);
        let kept = |most| Kept { counters: HashMap::new(), most };
        Self { vec, releases: kept(most.div_ceil(2)), others: kept(most / 2), other }
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.vec.clone())
    }

    #[cfg(test)]
    fn lines(&self) -> usize {
        self.releases.most + self.others.most + 1
    }
}

/// Whether it looks like that of a release of Bitcoin Core, or of the branch between two, which has 99 in the place of a
/// release: `/Satoshi:0.8.0/` to `/Satoshi:0.21.9/`, `/Satoshi:22.0.0/` to `/Satoshi:49.4.4/`. A peer that makes up enough of
/// these can still fill their half before the real ones come.
fn is_release(user_agent: &str) -> bool {
    let version = user_agent.strip_prefix("/Satoshi:").and_then(|rest| rest.strip_suffix('/'));
    let mut numbers = version.unwrap_or_default().split('.').map(number);
    let version = [(); 3].map(|()| numbers.next().flatten());
    let is_sane = matches!(
        version,
        [Some(0), Some(8..=21), Some(0..=9 | 99)]
            | [Some(22..=49), Some(0..=4), Some(0..=4)]
            | [Some(22..=49), Some(99), Some(0)]
    );
    is_sane && numbers.next().is_none()
}

/// At most two digits, written in one way.
fn number(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::lines_of;

    #[test]
    fn releases_are_told_from_what_looks_like_them() {
        for release in ["0.8.0", "0.21.2", "0.16.99", "22.0.0", "24.0.1", "27.2.0", "30.99.0", "31.0.0"] {
            assert!(is_release(&format!("/Satoshi:{release}/")), "{release}");
        }
        for other in ["0.7.0", "0.22.0", "1.0.0", "21.0.0", "50.0.0", "29.5.0", "29.0.5", "29.0", "29.0.0.0", "029.0.0"]
        {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in
            ["29.0.0.x", "29.0.0.", "29.+0.0", "29..0", "", ".", "...", "29.0.0(comment)", "29.0.0/Knots:20250101"]
        {
            assert!(!is_release(&format!("/Satoshi:{other}/")), "{other}");
        }
        for other in ["/Satoshi:29.0.0", "Satoshi:29.0.0/", "/btcd:29.0.0/", ""] {
            assert!(!is_release(other), "{other}");
        }
    }

    #[test]
    fn ten_thousand_user_agents_leave_the_places_of_releases() {
        let mut agents = UserAgents::define("agents_total", "Help.", ("user_agent", 5));
        for number in 0..10_000 {
            agents.count(&format!("/Satoshi:29.0.0/{number}/"));
        }
        agents.count("");
        agents.count("other");
        for release in
            ["/Satoshi:29.0.0/", "/Satoshi:30.0.0/", "/Satoshi:29.0.0/", "/Satoshi:31.0.0/", "/Satoshi:31.1.0/"]
        {
            agents.count(release);
        }
        let expected = [
            ("/Satoshi:29.0.0/", 2),
            ("/Satoshi:29.0.0/0/", 1),
            ("/Satoshi:29.0.0/1/", 1),
            ("/Satoshi:30.0.0/", 1),
            ("/Satoshi:31.0.0/", 1),
            ("other", 9_998 + 2 + 1),
        ];
        let expected = expected.map(|(agent, n)| format!("bitcointap_agents_total{{user_agent=\"{agent}\"}} {n}"));
        assert_eq!(lines_of(agents.collector()), expected);
        assert_eq!(agents.lines(), expected.len());
    }

    #[test]
    fn long_ones_are_cut_and_any_text_is_kept() {
        let mut agents = UserAgents::define("agents_total", "Help.", ("user_agent", 4));
        agents.count(&"ä".repeat(200));
        agents.count(&"ä".repeat(100));
        agents.count("a\n\"");
        let expected = [("a\\n\\\"".to_owned(), 1), ("other".to_owned(), 0), ("ä".repeat(64), 2)];
        let expected = expected.map(|(agent, n)| format!("bitcointap_agents_total{{user_agent=\"{agent}\"}} {n}"));
        assert_eq!(lines_of(agents.collector()), expected);
    }
}
