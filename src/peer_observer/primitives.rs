//! Parts that several messages have: those of `bitcoin_primitives.proto`. In: parts of messages. Out: their fields.

use bitcoin::{block::Header, hashes::Hash as _};

use super::{
    Options,
    wire::{Message, SHORT},
};
use crate::{
    event::net::ConnectionType,
    p2p::{Address, Items, NetAddress, PrefilledTx, Tx, i2p_name, torv2_name, torv3_name},
};

/// The schema's number of a connection type. It has none for the last three, and tools may refuse numbers that it does not have.
pub(super) fn connection_type(connection_type: ConnectionType) -> u8 {
    match connection_type {
        ConnectionType::Unknown => 0,
        ConnectionType::Inbound => 1,
        ConnectionType::OutboundFullRelay => 2,
        ConnectionType::BlockRelayOnly => 3,
        ConnectionType::Feeler => 4,
        ConnectionType::Manual | ConnectionType::AddrFetch | ConnectionType::PrivateBroadcast => 0,
    }
}

/// The bytes of both hashes of a transaction, with their keys and lengths.
const HASHES: usize = 2 * (2 + 32);

pub(super) fn transactions(field: u8, transactions: &[Tx<'_>], options: Options, out: &mut Message<'_>) {
    for tx in transactions {
        transaction(field, tx, options, out);
    }
}

pub(super) fn transaction(field: u8, tx: &Tx<'_>, options: Options, out: &mut Message<'_>) {
    let raw = tx.raw().filter(|_| !options.low_data);
    let (txid, wtxid) = tx.ids();
    out.nested(field, HASHES + raw.map_or(0, <[u8]>::len), |out| {
        out.bytes(1, txid.to_byte_array());
        out.bytes(2, wtxid.to_byte_array());
        if let Some(raw) = raw {
            out.bytes(3, raw);
        }
    });
}

pub(super) fn prefilled(field: u8, prefilled: &PrefilledTx<'_>, options: Options, out: &mut Message<'_>) {
    out.nested(field, prefilled.tx.raw().map_or(0, <[u8]>::len), |out| {
        out.uint(1, prefilled.diff_index);
        transaction(2, &prefilled.tx, options, out);
    });
}

pub(super) fn header(field: u8, header: &Header, out: &mut Message<'_>) {
    out.nested(field, SHORT, |out| {
        out.sint(1, header.version.to_consensus());
        out.bytes(2, header.prev_blockhash.to_byte_array());
        out.bytes(3, header.merkle_root.to_byte_array());
        out.uint(4, header.time);
        out.uint(5, header.bits.to_consensus());
        out.uint(6, header.nonce);
        out.bytes(7, header.block_hash().to_byte_array());
    });
}

pub(super) fn addresses(field: u8, addresses: &[NetAddress<'_>], out: &mut Message<'_>) {
    for it in addresses {
        address(field, it, out);
    }
}

pub(super) fn address(field: u8, address: &NetAddress<'_>, out: &mut Message<'_>) {
    out.nested(field, SHORT, |out| {
        out.uint(1, address.timestamp);
        match &address.address {
            Address::Ipv4(address) => out.text(2, address),
            Address::Ipv6(address) => out.text(3, address),
            Address::Torv2(name) => out.text(4, torv2_name(name)),
            // With checksum and version. peer-observer's own extractor leaves them out, and such a name leads nowhere.
            Address::Torv3(key) => out.text(5, torv3_name(key)),
            Address::I2p(hash) => out.text(6, i2p_name(hash)),
            Address::Cjdns(address) => out.text(7, address),
            Address::Unknown { id, address } => out.nested(8, address.0.len(), |out| {
                out.uint(1, *id);
                out.bytes(2, address.0);
            }),
        }
        out.uint(9, address.services);
        out.uint(10, address.port);
    });
}

/// Types of items are those of BIP 144, BIP 152 and BIP 339.
pub(super) fn items(field: u8, items: &Items<'_>, out: &mut Message<'_>) {
    for (inv_type, hash) in items.raw() {
        let inner = match inv_type {
            1 => 1,
            2 => 2,
            5 => 3,
            0x4000_0001 => 4,
            0x4000_0002 => 5,
            4 => 6,
            _ => {
                out.nested(field, SHORT, |out| other_item(inv_type, hash, out));
                continue;
            }
        };
        out.nested_hash(field, inner, hash);
    }
}

fn other_item(inv_type: u32, hash: &[u8; 32], out: &mut Message<'_>) {
    if inv_type == 0 {
        out.uint(15, true);
        return;
    }
    out.nested(7, SHORT, |out| {
        out.uint(1, inv_type);
        out.bytes(2, hash);
    });
}
