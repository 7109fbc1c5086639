//! P2P messages: those of `message.proto`. In: messages. Out: their fields.

use bitcoin::hashes::Hash;

use super::{
    Options,
    primitives::{address, addresses, connection_type, header, items, prefilled, transaction, transactions},
    wire::{self, SHORT},
};
use crate::{
    event::net::{self, Meta},
    p2p::{self, reject_place},
};

/// False if the schema cannot say it. What was written then means nothing.
pub(super) fn message(message: &net::Message<'_>, options: Options, out: &mut wire::Message<'_>) -> bool {
    out.nested(1, SHORT, |out| metadata(&message.meta, out));
    content(message, options, out)
}

fn metadata(meta: &Meta<'_>, out: &mut wire::Message<'_>) {
    out.uint(1, meta.peer_id.cast_unsigned());
    out.bytes(2, meta.addr.as_bytes());
    out.uint(3, connection_type(meta.conn_type));
    out.bytes(4, meta.command);
    out.uint(5, meta.inbound);
    out.uint(6, meta.size);
}

fn content(message: &net::Message<'_>, options: Options, out: &mut wire::Message<'_>) -> bool {
    use p2p::Message::*;

    // What it takes here is about what it took on the wire.
    let size = message.payload.map_or(SHORT, <[u8]>::len);
    match &message.msg {
        Ping { value } => out.nested(2, SHORT, |out| out.fixed64(1, *value)),
        Pong { value } => out.nested(3, SHORT, |out| out.fixed64(1, *value)),
        Inv { items: list } => out.nested(4, size, |out| items(1, list, out)),
        Getdata { items: list } => out.nested(5, size, |out| items(1, list, out)),
        Tx { tx } => out.nested(6, size, |out| transaction(1, tx, options, out)),
        Headers { headers } => out.nested(7, size, |out| headers.iter().for_each(|it| header(1, it, out))),
        Addr { addresses: list } => out.nested(8, size, |out| addresses(1, list, out)),
        Addrv2 { addresses: list } => out.nested(9, size, |out| addresses(1, list, out)),
        Feefilter { fee } => out.nested(10, SHORT, |out| out.sint(1, *fee)),
        Getheaders { version, locator_hashes, stop_hash } => {
            out.nested(11, size, |out| locator(*version, locator_hashes, stop_hash, out));
        }
        Getblocks { version, locator_hashes, stop_hash } => {
            out.nested(12, size, |out| locator(*version, locator_hashes, stop_hash, out));
        }
        Version { version, services, timestamp, receiver, sender, nonce, user_agent, start_height, relay } => {
            out.nested(13, size, |out| {
                out.uint(1, *version);
                out.uint(2, *services);
                out.sint(3, *timestamp);
                address(4, receiver, out);
                address(5, sender, out);
                out.uint(6, *nonce);
                out.bytes(7, user_agent.as_bytes());
                out.sint(8, *start_height);
                out.uint(9, *relay);
            });
        }
        Notfound { items: list } => out.nested(14, size, |out| items(1, list, out)),
        Compactblock { header: head, nonce, short_ids, transactions } => out.nested(16, size, |out| {
            header(1, head, out);
            out.uint(2, *nonce);
            short_ids.iter().for_each(|id| out.bytes(3, id.as_bytes()));
            transactions.iter().for_each(|it| prefilled(4, it, options, out));
        }),
        Sendcompact { send_compact, send_compact_byte: _, version } => out.nested(17, SHORT, |out| {
            out.uint(1, *send_compact);
            out.uint(2, *version);
        }),
        Block { header: head, transactions: list } => out.nested(18, size, |out| {
            header(1, head, out);
            transactions(2, list, options, out);
        }),
        Getblocktxn { block_hash, tx_indexes } => out.nested(19, size, |out| {
            hash(1, block_hash, out);
            tx_indexes.iter().for_each(|index| out.uint(2, *index));
        }),
        Blocktxn { block_hash, transactions: list } => out.nested(20, size, |out| {
            hash(1, block_hash, out);
            transactions(2, list, options, out);
        }),
        Alert { alert } => out.nested(21, size, |out| out.bytes(1, alert.0)),
        Filteradd { filter } => out.nested(22, size, |out| out.bytes(1, filter.0)),
        // The schema has no other flags.
        Filterload { filter, hash_funcs, tweak, flags: flags @ 0..=2 } => out.nested(23, size, |out| {
            out.bytes(1, filter.0);
            out.uint(2, *hash_funcs);
            out.uint(3, *tweak);
            out.uint(4, *flags);
        }),
        Getcfcheckpt { filter_type, stop_hash } => out.nested(24, SHORT, |out| {
            out.uint(1, *filter_type);
            hash(2, stop_hash, out);
        }),
        Cfheaders { filter_type, stop_hash, previous_filter_header, filter_hashes } => out.nested(25, size, |out| {
            out.uint(1, *filter_type);
            hash(2, stop_hash, out);
            hash(3, previous_filter_header, out);
            hashes(4, filter_hashes, out);
        }),
        Cfilter { filter_type, block_hash, filter } => out.nested(26, size, |out| {
            out.uint(1, *filter_type);
            hash(2, block_hash, out);
            out.bytes(3, filter.0);
        }),
        Cfcheckpt { filter_type, stop_hash, filter_headers } => out.nested(27, size, |out| {
            out.uint(1, *filter_type);
            hash(2, stop_hash, out);
            hashes(3, filter_headers, out);
        }),
        Getcfheaders { filter_type, start_height, stop_hash } => out.nested(28, SHORT, |out| {
            out.uint(1, *filter_type);
            out.uint(2, *start_height);
            hash(3, stop_hash, out);
        }),
        Getcfilter { filter_type, start_height, stop_hash } => out.nested(29, SHORT, |out| {
            out.uint(1, *filter_type);
            out.uint(2, *start_height);
            hash(3, stop_hash, out);
        }),
        Merkleblock { header: head, num_transactions, bits, hashes: list } => out.nested(30, size, |out| {
            header(1, head, out);
            out.uint(2, *num_transactions);
            bits.iter().for_each(|byte| (0..8).for_each(|bit| out.uint(3, byte >> bit & 1)));
            hashes(4, list, out);
        }),
        Unknown { command, payload } => unknown(command, payload.0, out),
        // They came after the schema, and peer-observer's own extractor does not decode them.
        Feature { .. } | Sendtxrcncl { .. } => match message.payload {
            Some(payload) => unknown(message.meta.command, payload, out),
            None => return false,
        },
        Verack(_) => out.uint(32, true),
        Sendheaders(_) => out.uint(33, true),
        Getaddr(_) => out.uint(34, true),
        Mempool(_) => out.uint(35, true),
        Wtxidrelay(_) => out.uint(36, true),
        Sendaddrv2(_) => out.uint(37, true),
        Filterclear(_) => out.uint(38, true),
        Reject { rejected_command, reason, reason_details, hash: rejected } => out.nested(39, size, |out| {
            out.bytes(1, rejected_command.as_bytes());
            out.uint(2, reject_place(*reason));
            out.bytes(3, reason_details.as_bytes());
            hash(4, rejected, out);
        }),
        Emptyaddrv2(_) => out.uint(40, true),
        Oldping(_) => out.uint(41, true),
        Filterload { .. } | Undecodable { .. } | HeaderOnly { .. } | BlockHashOnly { .. } | Unavailable { .. } => {
            return false;
        }
    }
    true
}

fn locator<H: Hash<Bytes = [u8; 32]>>(version: u32, locator_hashes: &[H], stop_hash: &H, out: &mut wire::Message<'_>) {
    out.uint(1, version);
    hashes(2, locator_hashes, out);
    hash(3, stop_hash, out);
}

fn unknown(command: &str, payload: &[u8], out: &mut wire::Message<'_>) {
    out.nested(31, command.len() + payload.len(), |out| {
        out.bytes(1, command);
        out.bytes(2, payload);
    });
}

fn hashes<H: Hash<Bytes = [u8; 32]>>(field: u8, hashes: &[H], out: &mut wire::Message<'_>) {
    hashes.iter().for_each(|it| hash(field, it, out));
}

fn hash<H: Hash<Bytes = [u8; 32]>>(field: u8, hash: &H, out: &mut wire::Message<'_>) {
    out.bytes(field, hash.to_byte_array());
}
