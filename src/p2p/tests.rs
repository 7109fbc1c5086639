mod accepts;
mod differences;
mod hostile;
pub(crate) mod samples;
mod shapes;
mod transactions;

use super::decode;
use crate::json::{Style, write_line};

/// The `msg` of an event, as it is printed by default.
fn json(command: &str, payload: &[u8]) -> String {
    styled(command, payload, Style::default())
}

fn styled(command: &str, payload: &[u8], style: Style) -> String {
    let mut line = Vec::new();
    write_line(&mut line, &decode(command, payload), style).expect("a Vec takes all");
    let line = String::from_utf8(line).expect("JSON is UTF-8");
    line.strip_suffix('\n').expect("a line ends").to_owned()
}

/// `[1,2,3]`
fn ints(bytes: &[u8]) -> String {
    format!("{bytes:?}").replace(' ', "")
}

/// Thirty-two bytes in a recognisable order that differ for each `first`.
fn hash(first: u8) -> [u8; 32] {
    std::array::from_fn(|i| first.wrapping_add(i as u8))
}

/// `hash(first)` as it is printed.
fn hash_ints(first: u8) -> String {
    ints(&hash(first))
}
