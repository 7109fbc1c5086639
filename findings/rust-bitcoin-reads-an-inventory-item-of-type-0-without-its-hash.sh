#!/usr/bin/env bash
# rust-bitcoin 0.32.7 (crate `bitcoin`), decoding of inventories: the payloads of inv, getdata and notfound.
#
# One would expect: each item has 36 bytes, a type of four and a hash of 32, whatever its type is. Bitcoin Core reads and writes it so.
#
# What happens: after the type 0 it reads no hash. The next item then begins in the middle of the hash, or the end is not where the
# payload ends. So whoever decodes a payload with such an item gets an error, or other items than were sent. It does write 32 zeros
# after the type, so that it does not read what it has written. 0.32.102 reads the hash.
#
# What helps: a newer version, or to read items oneself.
#
# In: cargo, a registry of crates. Out: what both versions read; status 1 if that has changed.
set -euo pipefail

directory=$(mktemp -d)
trap 'rm -r "$directory"' EXIT
cd "$directory"
mkdir src
cat >src/main.rs <<'END'
use bitcoin::consensus::encode::{deserialize_partial, serialize};
use bitcoin::p2p::message_blockdata::Inventory;

fn main() {
    // One item: its number, the type 0, a hash of bytes 7.
    let payload = [&[1u8][..], &[0; 4], &[7; 32]].concat();
    let (items, read) = deserialize_partial::<Vec<Inventory>>(&payload).unwrap();
    println!("{} item, {read} of {} bytes read, {} bytes written", items.len(), payload.len(), serialize(&items).len());
}
END

# In: a version. Out: what it reads.
read_by() {
    printf '%s\n' '[package]' 'name = "finding"' 'version = "0.0.0"' 'edition = "2021"' '[dependencies]' "bitcoin = \"=$1\"" >Cargo.toml
    rm -f Cargo.lock
    cargo run --quiet
}

old=$(read_by 0.32.7)
echo "0.32.7:   $old"
new=$(read_by 0.32.102)
echo "0.32.102: $new"

[[ $old == '1 item, 5 of 37 bytes read, 37 bytes written' && $new == '1 item, 37 of 37 bytes read, 37 bytes written' ]] ||
    { echo "this has changed" && exit 1; }
