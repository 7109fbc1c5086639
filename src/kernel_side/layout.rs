//! The layouts of records: the fields of each struct by name. A recording stores them, so that another build can read its records.
//! In: the generated types. Out: a table for each struct.

use std::{borrow::Cow, mem::offset_of};

use serde::{Deserialize, Serialize};

use super::types;

/// The fields of a struct, without its header, reserved bytes and padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout<'a> {
    /// In bytes, with the header.
    pub size: u16,
    pub fields: Cow<'a, [Field<'a>]>,
}

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field<'a> {
    pub name: &'a str,
    pub offset: u16,
    /// In bytes.
    pub size: u16,
    pub kind: Kind,
}

/// The kind of a field. Integers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Unsigned,
    Signed,
    Bytes,
}

impl Layout<'static> {
    /// The layout of a struct of the kernel side.
    pub(crate) const fn of<T: LaidOut>() -> Self {
        Self { size: size_of::<T>() as u16, fields: Cow::Borrowed(T::FIELDS) }
    }
}

/// The struct that each record begins with.
pub(crate) static HEADER: Layout<'static> = Layout::of::<types::event_header>();

/// A struct of the kernel side whose fields are known by name. Only `layouts.rs` implements this, which is generated.
pub(crate) trait LaidOut {
    const FIELDS: &'static [Field<'static>];
}

/// The type of a field.
trait FieldType {
    const KIND: Kind;
}

macro_rules! field_types {
    ($($type:ty: $kind:ident)*) => { $( impl FieldType for $type { const KIND: Kind = Kind::$kind; } )* };
}

field_types! { u8: Unsigned u16: Unsigned u32: Unsigned u64: Unsigned i32: Signed i64: Signed }

impl<const N: usize> FieldType for [u8; N] {
    const KIND: Kind = Kind::Bytes;
}

include!(concat!(env!("OUT_DIR"), "/layouts.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracepoint::Tracepoint;

    #[test]
    fn a_layout_has_all_that_a_record_says() {
        let fields: Vec<_> =
            Tracepoint::NetInboundConnection.layout().fields.iter().map(|it| (it.name, it.offset)).collect();
        assert_eq!(fields, [("peer_id", 16), ("detail", 24), ("network", 32), ("connection_type", 36)]);
        assert_eq!(HEADER.fields.len(), 3);
        for tracepoint in Tracepoint::all() {
            let Layout { size, fields } = tracepoint.layout();
            // Fields follow each other, with gaps of less than a word.
            let mut end = HEADER.size;
            for field in fields.iter() {
                assert!(field.offset >= end && field.offset < end + 8, "{tracepoint} {}", field.name);
                end = field.offset + field.size;
            }
            assert!(end <= *size && size - end < 8, "{tracepoint}");
        }
    }
}
