//! The few parts of payloads that the tally reads. These payloads are well-formed: others never get here.

use bitcoin::hashes::{Hash, sha256d};

/// Bytes of a header.
const HEADER: usize = 80;

/// Types of inventory, without the flag that asks for witnesses.
pub(super) const TX: u32 = 1;
pub(super) const BLOCK: u32 = 2;
pub(super) const FILTERED_BLOCK: u32 = 3;
pub(super) const CMPCT_BLOCK: u32 = 4;
pub(super) const WTX: u32 = 5;
pub(super) const WITNESS: u32 = 1 << 30;

/// What follows the number (as CompactSize) with which `payload` begins.
fn after_count(payload: &[u8]) -> &[u8] {
    let width = match payload.first() {
        None => 0,
        Some(..253) => 1,
        Some(253) => 3,
        Some(254) => 5,
        Some(255) => 9,
    };
    &payload[width..]
}

/// Types and hashes in an inv, getdata or notfound.
pub(super) fn items(payload: &[u8]) -> impl Iterator<Item = (u32, [u8; 32])> {
    after_count(payload).chunks_exact(36).map(|item| {
        let (kind, hash) = item.split_at(4);
        (u32::from_le_bytes(kind.try_into().expect("4 bytes")), hash.try_into().expect("32 bytes"))
    })
}

/// Each header of a headers message, without the number of transactions, which is 0.
pub(super) fn headers(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    after_count(payload).chunks_exact(HEADER + 1).map(|header| &header[..HEADER])
}

/// The hash of the block before that of `header`.
pub(super) fn previous(header: &[u8]) -> [u8; 32] {
    hash(&header[4..])
}

/// The hashes of a getheaders' locator.
pub(super) fn locator(payload: &[u8]) -> Vec<[u8; 32]> {
    let hashes = after_count(&payload[4..]);
    // The last is where to stop.
    hashes[..hashes.len() - 32].chunks_exact(32).map(hash).collect()
}

/// The hash with which `bytes` begin.
pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    bytes[..32].try_into().expect("32 bytes")
}

/// The hash of the header with which `payload` begins.
pub(super) fn header_hash(payload: &[u8]) -> [u8; 32] {
    sha256d::Hash::hash(&payload[..HEADER]).to_byte_array()
}
