//! The table of tracepoints as the tests see it. In: src/table.rs. Out: its rows; a table that records the names of those that fire.

use std::ffi::{CStr, c_char, c_uchar};

use simnode::Probes;

use crate::recorder::{Event, record};

/// A tracepoint.
pub struct Row {
    pub name: &'static CStr,
    /// The first layout that has it.
    pub since: i32,
    /// The widths of its parameters, negative where signed. Pointers are 8.
    pub widths: &'static [i8],
}

macro_rules! width {
    (bool) => {
        1
    };
    (i32) => {
        -4
    };
    (u32) => {
        4
    };
    (i64) => {
        -8
    };
    (u64) => {
        8
    };
    (usize) => {
        8
    };
    (Text) => {
        8
    };
    (Bytes) => {
        8
    };
}

type Bytes = *const c_uchar;
type Text = *const c_char;

macro_rules! tracepoints {
    ($(
        $variant:ident: $name:literal, since $since:literal,
            $function:ident($($parameter:ident: $type:ident),+ $(,)?) $(, $differs:ident)?;
    )*) => {
        pub const ROWS: &[Row] = &[$( Row { name: $name, since: $since, widths: &[$(width!($type)),+] }, )*];

        $( unsafe extern "C" fn $function($(_: $type),+) {
            record(Event::Other { tracepoint: $name.to_str().unwrap() });
        } )*

        /// All tracepoints of v31, whose names alone are recorded.
        pub fn probes() -> Probes {
            Probes { layout: 31, $( $function: Some($function), )* }
        }
    };
}

include!("../../src/table.rs");

/// The rows of a layout.
pub fn rows(layout: i32) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.since <= layout)
}
