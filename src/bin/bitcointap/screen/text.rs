//! Words and numbers that fit a terminal. In: any text, numbers. Out: text that takes exactly the columns that it
//! should.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Replaces a character that must not reach the terminal.
const REPLACEMENT: char = '\u{fffd}';

/// A text that somebody else chose, in at most this many columns. Each character takes one column. A visible mark
/// replaces controls, with which escape sequences begin, and characters that turn the direction of writing, join or
/// hide.
pub fn plain(text: &str, columns: usize) -> String {
    let mut plain = String::new();
    let mut left = columns;
    let mut characters = text.chars().map(visible);
    while let Some(character) = characters.next() {
        let width = width(character);
        if width > left || width == left && characters.clone().next().is_some() {
            // More than fits: the last column shows it.
            if left > 0 {
                plain.push('…');
            }
            break;
        }
        plain.push(character);
        left -= width;
    }
    plain
}

fn visible(character: char) -> char {
    let is_hidden = match character {
        // Separators of lines and paragraphs, soft hyphens, marks that go around others, interlinear annotations.
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' => {
            true
        }
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        // Shorthand format controls, musical ones, tags.
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        _ => character.width().unwrap_or_default() == 0,
    };
    if is_hidden { REPLACEMENT } else { character }
}

fn width(character: char) -> usize {
    character.width().unwrap_or_default()
}

/// How often in a second.
pub fn rate(rate: f64) -> String {
    match rate {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate => scaled(rate),
    }
}

/// A number in few places: 950, 1.2k, 95k, 3.4M.
pub fn count(count: u64) -> String {
    scaled(count as f64)
}

fn scaled(number: f64) -> String {
    let mut number = number;
    for unit in ["", "k", "M", "G", "T", "P", "E"] {
        if number < 9.95 && !unit.is_empty() {
            return format!("{number:.1}{unit}");
        }
        if number < 999.5 {
            return format!("{number:.0}{unit}");
        }
        number /= 1_000.0;
    }
    "lots".to_owned()
}

/// A number with all of its digits.
pub fn exact(count: u64) -> String {
    let digits = count.to_string();
    let mut exact = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            exact.push(',');
        }
        exact.push(digit);
    }
    exact
}

/// A duration, in its two largest units.
pub fn lasted(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}", minutes % 60),
        _ => format!("{days}d{:02}", hours % 24),
    }
}

/// A number of things.
pub fn plural(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", exact(count), if count == 1 { one } else { more })
}

/// The time that something took.
pub fn took(seconds: f64) -> String {
    let milliseconds = seconds * 1_000.0;
    match milliseconds {
        it if it < 0.009_95 => format!("{:.1}µs", it * 1_000.0),
        it if it < 0.999_5 => format!("{:.0}µs", it * 1_000.0),
        it if it < 9.95 => format!("{it:.1}ms"),
        it if it < 999.5 => format!("{it:.0}ms"),
        _ => format!("{seconds:.1}s"),
    }
}

/// The time of day of a UNIX time, in UTC.
pub fn time_of_day(time: f64) -> String {
    let seconds = time.max(0.0) as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// A connection type in a few letters, as `bitcoin-cli -netinfo` has them.
pub fn short_type(name: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(match name {
        "inbound" => "in",
        "outbound-full-relay" => "full",
        "block-relay-only" => "block",
        "addr-fetch" => "addr",
        "private-broadcast" => "priv",
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use bitcointap::event::net::ConnectionType;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn what_peers_say_cannot_reach_the_terminal_as_a_control() {
        for (text, expected) in [
            ("/Satoshi:29.0.0/", "/Satoshi:29.0.0/"),
            ("\x1b[2J\x1b]0;title\x07", "\u{fffd}[2J\u{fffd}]0;title\u{fffd}"),
            ("a\r\nb\tc\0d\x7fe\u{9b}31mf", "a\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}31mf"),
            ("abc\u{202e}fed\u{202c}", "abc\u{fffd}fed\u{fffd}"),
            ("\u{2066}x\u{2069}\u{200e}\u{200f}\u{61c}", "\u{fffd}x\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("z\u{200b}w\u{200d}\u{ad}\u{feff}", "z\u{fffd}w\u{fffd}\u{fffd}\u{fffd}"),
            ("e\u{301}\u{301}", "e\u{fffd}\u{fffd}"),
            ("tag\u{e0041}", "tag\u{fffd}"),
            ("line\u{2028}\u{2029}", "line\u{fffd}\u{fffd}"),
            ("größe 漢字", "größe 漢字"),
        ] {
            assert_eq!(plain(text, 100), expected, "{text:?}");
        }
    }

    #[test]
    fn no_character_at_all_is_a_control_or_without_width() {
        let directions = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
        for character in '\0'..=char::MAX {
            let shown = visible(character);
            assert!(!shown.is_control() && shown.width() > Some(0), "{character:?}");
            assert!(!directions.contains(&shown) && !('\u{202a}'..='\u{202e}').contains(&shown), "{character:?}");
            assert!(!('\u{2066}'..='\u{2069}').contains(&shown), "{character:?}");
        }
    }

    #[test]
    fn texts_are_cut_by_the_columns_that_they_take() {
        assert_eq!(plain("abcdef", 6), "abcdef");
        assert_eq!(plain("abcdef", 5), "abcd…");
        assert_eq!(plain("漢字漢字", 8), "漢字漢字");
        assert_eq!(plain("漢字漢字", 7), "漢字漢…");
        assert_eq!(plain("漢字漢字", 6), "漢字…");
        assert_eq!(plain("漢字", 1), "…");
        assert_eq!(plain("abc", 0), "");
        for columns in 0..12 {
            assert!(plain("a漢b字c漢d", columns).width() <= columns);
        }
    }

    #[test]
    fn numbers_take_few_places() {
        assert_eq!(
            [0.0, 0.04, 0.1, 9.9, 9.96, 12.4, 999.4, 999.6].map(rate),
            ["0", "0.0", "0.1", "9.9", "10", "12", "999", "1.0k"]
        );
        assert_eq!(
            [0, 7, 999, 1_000, 12_345, 999_499, 999_999, 5_120_331, u64::MAX].map(count),
            ["0", "7", "999", "1.0k", "12k", "999k", "1.0M", "5.1M", "18E"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(exact), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [-3.0, 59.9, 60.0, 3_725.0, 100_000.0, 1e9].map(lasted),
            ["0s", "59s", "1m00", "1h02", "1d03", "11574d01"]
        );
        assert_eq!(
            [0.000_009_9, 0.000_41, 0.000_999_6, 0.012_4, 0.9, 1.25].map(took),
            ["9.9µs", "410µs", "1.0ms", "12ms", "900ms", "1.2s"]
        );
        assert_eq!([0, 1, 2_000].map(|count| plural(count, "tx", "txs")), ["0 txs", "1 tx", "2,000 txs"]);
        assert_eq!(time_of_day(1_795_364_339.5), "16:18:59");
    }

    #[test]
    fn types_are_short_and_differ() {
        let short = ConnectionType::ALL.map(|it| short_type(it.name()));
        assert_eq!(short, ["unknown", "in", "full", "block", "feeler", "manual", "addr", "priv"]);
    }
}
