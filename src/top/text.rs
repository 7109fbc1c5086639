//! Numbers and texts for the screen. In: figures, and texts that peers chose. Out: short texts that cannot move the cursor, change
//! the direction of writing or hide.

use std::time::Duration;

/// With what cannot be seen, or does more than being seen, replaced.
pub fn printable(text: &str) -> String {
    text.chars().map(|char| if is_harmless(char) { char } else { '\u{fffd}' }).collect()
}

fn is_harmless(char: char) -> bool {
    !char.is_control()
        && !matches!(char,
            // Soft hyphen, marks and orders of direction, joiners, what is invisible, variation selectors, tags.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Three digits, and a letter for thousands.
pub fn short(value: f64) -> String {
    let mut value = value;
    for unit in ["", "k", "M", "G", "T"] {
        if value < 999.5 || unit == "T" {
            return match (unit, value) {
                ("", value) if value == value.trunc() => format!("{value:.0}"),
                (_, value) if value < 9.95 => format!("{value:.1}{unit}"),
                _ => format!("{value:.0}{unit}"),
            };
        }
        value /= 1000.0;
    }
    String::new()
}

/// The largest two units: `2h03m`.
pub fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d{:02}h", hours % 24),
        () if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{:02}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

pub fn milliseconds(seconds: f64) -> String {
    let ms = Duration::from_secs_f64(seconds.clamp(0.0, 1e6)).as_secs_f64() * 1e3;
    if ms < 9.95 {
        format!("{ms:.1}ms")
    } else if ms < 9_999.5 {
        format!("{ms:.0}ms")
    } else {
        format!("{:.0}s", ms / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_chose_is_only_seen() {
        assert_eq!(printable("/Satoshi:31.0.0(äöü 日本)/"), "/Satoshi:31.0.0(äöü 日本)/");
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n\0\u{202e}c\u{200b}d\u{9b}e"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}e"
        );
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.25, 7.0, 12.34, 999.4, 999.5, 1_234.0, 45_678.0, 2.5e6, 7e9, 1e15];
        assert_eq!(numbers.map(short), ["0", "0.2", "7", "12", "999", "1.0k", "1.2k", "46k", "2.5M", "7.0G", "1000T"]);
        assert_eq!([-1.0, 59.9, 61.0, 7_380.0, 180_000.0].map(age), ["0s", "59s", "1m01s", "2h03m", "2d02h"]);
        assert_eq!([0.0001, 0.0834, 12.0].map(milliseconds), ["0.1ms", "83ms", "12s"]);
    }
}
