//! Events that are no messages: those of `connection.proto`, `mempool.proto` and `validation.proto`. In: events. Out: their fields.
//!
//! The schema's numbers are narrower than the events'. No node fires a value that does not fit.

use super::{
    primitives::connection_type,
    wire::{Message, SHORT},
};
use crate::event::{
    mempool::Mempool,
    net::{Conn, Connection},
    validation::Validation,
};

pub(super) fn connection(event: &Connection<'_>, out: &mut Message<'_>) {
    match event {
        Connection::Closed { conn, time_established } => which(1, conn, *time_established, out),
        Connection::InboundEvicted { conn, time_established } => which(2, conn, *time_established, out),
        Connection::Inbound { conn, existing_connections } => which(3, conn, *existing_connections, out),
        Connection::Outbound { conn, existing_connections } => which(4, conn, *existing_connections, out),
        Connection::Misbehaving { id, xmessage, score_before: _, score_increase: _, threshold_exceeded: _ } => {
            out.nested(5, SHORT, |out| {
                out.uint(1, id.cast_unsigned());
                out.bytes(2, xmessage.as_bytes());
            });
        }
    }
}

/// A connection, and a number about it.
fn which(field: u8, conn: &Conn<'_>, detail: u64, out: &mut Message<'_>) {
    out.nested(field, SHORT, |out| {
        out.nested(1, SHORT, |out| {
            out.uint(1, conn.peer_id.cast_unsigned());
            out.bytes(2, conn.addr.as_bytes());
            out.uint(3, connection_type(conn.conn_type));
            out.uint(4, conn.network);
        });
        out.uint(2, detail);
    });
}

pub(super) fn mempool(event: &Mempool<'_>, out: &mut Message<'_>) {
    match event {
        Mempool::Added { txid, vsize, fee } => out.nested(1, SHORT, |out| {
            out.bytes(1, txid.0);
            out.int(2, narrowed(*vsize));
            out.int(3, *fee);
        }),
        Mempool::Replaced {
            replaced_txid,
            replaced_vsize,
            replaced_fee,
            replaced_entry_time,
            replacement_txid,
            replacement_vsize,
            replacement_fee,
            replacement_is_txid,
        } => out.nested(2, SHORT, |out| {
            out.bytes(1, replaced_txid.0);
            out.int(2, narrowed(*replaced_vsize));
            out.int(3, *replaced_fee);
            out.uint(4, *replaced_entry_time);
            out.bytes(5, replacement_txid.0);
            out.int(6, narrowed(*replacement_vsize));
            out.int(7, *replacement_fee);
            out.uint(8, *replacement_is_txid);
        }),
        Mempool::Removed { txid, reason, vsize, fee, entry_time } => out.nested(3, SHORT, |out| {
            out.bytes(1, txid.0);
            out.bytes(2, reason.as_bytes());
            out.int(3, narrowed(*vsize));
            out.int(4, *fee);
            out.uint(5, *entry_time);
        }),
        Mempool::Rejected { txid, reason } => out.nested(4, SHORT, |out| {
            out.bytes(1, txid.0);
            out.bytes(2, reason.as_bytes());
        }),
    }
}

pub(super) fn validation(event: &Validation, out: &mut Message<'_>) {
    match event {
        Validation::BlockConnected { hash, height, transactions, inputs, sigops, connection_time } => {
            out.nested(1, SHORT, |out| {
                out.bytes(1, hash.0);
                out.int(2, narrowed(*height));
                out.int(3, signed(*transactions));
                out.int(4, narrowed(*inputs));
                out.int(5, signed(*sigops));
                out.uint(6, *connection_time);
            });
        }
    }
}

/// For `int32`: the nearest value that it has.
fn narrowed(value: i64) -> i32 {
    value.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// For `int64`: the nearest value that it has.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
