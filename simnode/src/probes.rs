//! The table of tracepoints as Rust sees it: `probes.c` fills it. Only [`crate::Emitter`] calls its functions.

use std::ffi::{c_char, c_uchar};

use crate::names::Tracepoint;

type Bytes = *const c_uchar;
type Text = *const c_char;

pub(crate) type Opened = unsafe extern "C" fn(i64, Text, Text, u32, usize);
pub(crate) type Ended = unsafe extern "C" fn(i64, Text, Text, u32, i64);
pub(crate) type Coin = unsafe extern "C" fn(Bytes, u32, u32, i64, bool);

macro_rules! tracepoints {
    ($(
        $variant:ident: $name:literal, since $since:literal,
            $function:ident($($parameter:ident: $type:ident),+ $(,)?) $(, $differs:ident)?;
    )*) => {
        /// One function for each tracepoint, [`None`] where the layout lacks it: `struct probes` of C.
        ///
        /// Pointers must be valid for reading during the call; texts end with a zero byte.
        #[repr(C)]
        #[allow(missing_docs)]
        pub struct Probes {
            /// The value of `LAYOUT`, for example 31.
            pub layout: i32,
            $( pub $function: Option<unsafe extern "C" fn($($parameter: $type),+)>, )*
        }

        impl Probes {
            /// Whether the layout has it.
            pub(crate) fn has(&self, tracepoint: Tracepoint) -> bool {
                match tracepoint { $( Tracepoint::$variant => self.$function.is_some(), )* }
            }
        }
    };
}

include!("table.rs");
