//! A payload for each variant, with a distinct value in every field, and its JSON.

use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid,
    Witness, block,
};

use super::{hash, hash_ints, ints};

pub struct Sample {
    pub command: &'static str,
    pub payload: Vec<u8>,
    pub json: String,
}

fn sample(command: &'static str, payload: impl AsRef<[u8]>, json: impl Into<String>) -> Sample {
    Sample { command, payload: payload.as_ref().to_vec(), json: json.into() }
}

/// An IPv4 address within IPv6.
pub const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4];
/// 2001:db8::5
pub const IPV6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];

pub fn transaction(first: u8, witness: bool) -> Transaction {
    let items: &[&[u8]] = if witness { &[&[1, 2], &[], &[3]] } else { &[] };
    Transaction {
        version: Version(2),
        lock_time: LockTime::from_consensus(700_000 + u32::from(first)),
        input: vec![TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array(hash(first)), vout: 3 },
            script_sig: ScriptBuf::from_bytes(vec![4; 5]),
            sequence: Sequence(6),
            witness: Witness::from_slice(items),
        }],
        output: vec![TxOut { value: Amount::from_sat(7), script_pubkey: ScriptBuf::from_bytes(vec![8; 9]) }],
    }
}

/// `T` of the JSON contract for a transaction, by rust-bitcoin's hashes.
pub fn transaction_json(transaction: &Transaction) -> String {
    format!(
        r#"{{"txid":{},"wtxid":{},"raw":{}}}"#,
        ints(transaction.compute_txid().as_ref()),
        ints(transaction.compute_wtxid().as_ref()),
        ints(&serialize(transaction))
    )
}

pub fn header(first: u8) -> Header {
    Header {
        version: block::Version::from_consensus(-536_870_911),
        prev_blockhash: BlockHash::from_byte_array(hash(first)),
        merkle_root: TxMerkleNode::from_byte_array(hash(first + 1)),
        time: 4_000_000_000,
        bits: CompactTarget::from_consensus(386_089_497),
        nonce: 4_000_000_001 + u32::from(first),
    }
}

fn header_json(first: u8) -> String {
    let header = header(first);
    format!(
        r#"{{"version":-536870911,"prev_blockhash":{},"merkle_root":{},"time":4000000000,"bits":386089497,"nonce":{},"hash":{}}}"#,
        hash_ints(first),
        hash_ints(first + 1),
        header.nonce,
        ints(header.block_hash().as_ref())
    )
}

pub fn version() -> Vec<u8> {
    [
        &70016u32.to_le_bytes()[..],
        &1033u64.to_le_bytes(),
        &1_747_158_913i64.to_le_bytes(),
        &[&1u64.to_le_bytes()[..], &MAPPED, &8333u16.to_be_bytes()].concat(),
        &[&9u64.to_le_bytes()[..], &IPV6, &18333u16.to_be_bytes()].concat(),
        &1_234_605_616_436_508_552u64.to_le_bytes(),
        b"\x06/core/",
        &896_000i32.to_le_bytes(),
        &[0],
    ]
    .concat()
}

/// An entry of `addrv2`.
pub fn addrv2(services: &[u8], network: u8, address: &[u8]) -> Vec<u8> {
    let length = u8::try_from(address.len()).expect("a short address");
    [&1_747_150_000u32.to_le_bytes(), services, &[network, length], address, &8333u16.to_be_bytes()].concat()
}

/// `items` after their number.
pub fn counted(items: &[&[u8]]) -> Vec<u8> {
    let count = u8::try_from(items.len()).expect("a short list");
    [&[count], &items.concat()[..]].concat()
}

pub fn samples() -> Vec<Sample> {
    [presentation(), addresses(), announcements(), blocks(), bloom(), filters(), others()]
        .into_iter()
        .flatten()
        .collect()
}

fn presentation() -> Vec<Sample> {
    vec![
        sample(
            "version",
            version(),
            concat!(
                r#"{"Version":{"version":70016,"services":1033,"timestamp":1747158913,"#,
                r#""receiver":{"timestamp":0,"services":1,"port":8333,"address":{"Ipv4":"1.2.3.4"}},"#,
                r#""sender":{"timestamp":0,"services":9,"port":18333,"address":{"Ipv6":"2001:db8::5"}},"#,
                r#""nonce":1234605616436508552,"user_agent":"/core/","start_height":896000,"relay":false}}"#
            ),
        ),
        sample("verack", [], r#"{"Verack":true}"#),
        sample("sendheaders", [], r#"{"Sendheaders":true}"#),
        sample("getaddr", [], r#"{"Getaddr":true}"#),
        sample("mempool", [], r#"{"Mempool":true}"#),
        sample("wtxidrelay", [], r#"{"Wtxidrelay":true}"#),
        sample("sendaddrv2", [], r#"{"Sendaddrv2":true}"#),
        sample("filterclear", [], r#"{"Filterclear":true}"#),
        sample("ping", [], r#"{"Oldping":true}"#),
        sample("ping", 18_446_744_073_709_551_615u64.to_le_bytes(), r#"{"Ping":{"value":18446744073709551615}}"#),
        sample("pong", 8u64.to_le_bytes(), r#"{"Pong":{"value":8}}"#),
        sample("feefilter", 1000i64.to_le_bytes(), r#"{"Feefilter":{"fee":1000}}"#),
        sample("sendcmpct", [1, 2, 0, 0, 0, 0, 0, 0, 0], r#"{"Sendcompact":{"send_compact":true,"version":2}}"#),
        sample(
            "feature",
            [&[8], &b"a\xfe-maybe"[..], &[2, 3, 4]].concat(),
            "{\"Feature\":{\"feature\":\"a\u{fffd}-maybe\",\"data\":[3,4]}}",
        ),
        sample(
            "sendtxrcncl",
            [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1],
            r#"{"Sendtxrcncl":{"version":1,"salt":72057594037927938}}"#,
        ),
    ]
}

fn addresses() -> Vec<Sample> {
    let onioncat = [&[0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43], &hash(1)[..10]].concat();
    let addr = |time: u8, address: &[u8]| {
        let (services, port) = (&1033u64.to_le_bytes()[..], &8333u16.to_be_bytes()[..]);
        [&[time, 0, 0, 0], services, address, port].concat()
    };
    let networks = [
        (1, [1, 2, 3, 4].to_vec(), r#"{"Ipv4":"1.2.3.4"}"#),
        (2, IPV6.to_vec(), r#"{"Ipv6":"2001:db8::5"}"#),
        (3, hash(1)[..10].to_vec(), r#"{"Torv2":"aebagbafaydqqcik.onion"}"#),
        (4, hash(2).to_vec(), r#"{"Torv3":"aibqibiga4eascqlbqgq4dyqcejbgfavcylrqgi2dmob2hq7eaqs4eqd.onion"}"#),
        (5, hash(3).to_vec(), r#"{"I2p":"amcakbqhbaequcymbuha6earcijrifiwc4mbsgq3dqor4hzaeera.b32.i2p"}"#),
        (6, [&[0xfc], &IPV6[1..]].concat(), r#"{"Cjdns":"fc01:db8::5"}"#),
        (99, [7, 8].to_vec(), r#"{"Unknown":{"id":99,"address":[7,8]}}"#),
    ];
    let entries: Vec<_> = networks.iter().map(|(id, address, _)| addrv2(&[0xfd, 9, 4], *id, address)).collect();
    let entries: Vec<_> = entries.iter().map(Vec::as_slice).collect();
    let jsons = networks
        .map(|(.., address)| format!(r#"{{"timestamp":1747150000,"services":1033,"port":8333,"address":{address}}}"#));
    vec![
        sample(
            "addr",
            counted(&[&addr(1, &MAPPED), &addr(2, &IPV6), &addr(3, &onioncat)]),
            concat!(
                r#"{"Addr":{"addresses":["#,
                r#"{"timestamp":1,"services":1033,"port":8333,"address":{"Ipv4":"1.2.3.4"}},"#,
                r#"{"timestamp":2,"services":1033,"port":8333,"address":{"Ipv6":"2001:db8::5"}},"#,
                r#"{"timestamp":3,"services":1033,"port":8333,"address":{"Torv2":"aebagbafaydqqcik.onion"}}]}}"#
            ),
        ),
        sample("addrv2", counted(&entries), format!(r#"{{"Addrv2":{{"addresses":[{}]}}}}"#, jsons.join(","))),
        sample("addrv2", [], r#"{"Emptyaddrv2":true}"#),
    ]
}

fn announcements() -> Vec<Sample> {
    const WITNESS: u32 = 1 << 30;
    let items = [
        (1, "Transaction"),
        (2, "Block"),
        (4, "CompactBlock"),
        (5, "Wtx"),
        (WITNESS + 1, "WitnessTransaction"),
        (WITNESS + 2, "WitnessBlock"),
        (0, "Error"),
        (3, "Unknown"),
        (WITNESS + 3, "Unknown"),
    ];
    let mut payload = vec![items.len() as u8];
    let mut jsons = Vec::new();
    for (i, (code, name)) in (10..).zip(items) {
        payload.extend([&code.to_le_bytes()[..], &hash(i)].concat());
        jsons.push(match name {
            "Error" => r#"{"item":{"Error":true}}"#.to_owned(),
            "Unknown" => format!(r#"{{"item":{{"Unknown":{{"inv_type":{code},"hash":{}}}}}}}"#, hash_ints(i)),
            name => format!(r#"{{"item":{{"{name}":{}}}}}"#, hash_ints(i)),
        });
    }
    let locator = [&70015u32.to_le_bytes(), &counted(&[&hash(1), &hash(2)])[..], &hash(3)].concat();
    let [one, two, stop] = [1, 2, 3].map(hash_ints);
    let locator_json = format!(r#"{{"version":70015,"locator_hashes":[{one},{two}],"stop_hash":{stop}}}"#);
    let mut samples = Vec::new();
    for (command, name) in [("inv", "Inv"), ("getdata", "Getdata"), ("notfound", "Notfound")] {
        samples.push(sample(command, &payload, format!(r#"{{"{name}":{{"items":[{}]}}}}"#, jsons.join(","))));
    }
    for (command, name) in [("getblocks", "Getblocks"), ("getheaders", "Getheaders")] {
        samples.push(sample(command, &locator, format!(r#"{{"{name}":{locator_json}}}"#)));
    }
    samples
}

fn blocks() -> Vec<Sample> {
    let [legacy, segwit] = [transaction(40, false), transaction(50, true)];
    let [legacy_bytes, segwit_bytes] = [serialize(&legacy), serialize(&segwit)];
    let [legacy_json, segwit_json] = [transaction_json(&legacy), transaction_json(&segwit)];
    let header = |first| serialize(&header(first));
    let transactions = counted(&[&segwit_bytes, &legacy_bytes]);
    let short_ids = counted(&[&[1, 2, 3, 4, 5, 6], &[7, 8, 9, 10, 11, 12]]);
    let prefilled = counted(&[&[&[0], &legacy_bytes[..]].concat(), &[&[253, 44, 1], &segwit_bytes[..]].concat()]);
    vec![
        sample(
            "headers",
            counted(&[&[header(1), vec![0]].concat(), &[header(5), vec![0]].concat()]),
            format!(r#"{{"Headers":{{"headers":[{},{}]}}}}"#, header_json(1), header_json(5)),
        ),
        sample("tx", &legacy_bytes, format!(r#"{{"Tx":{{"tx":{legacy_json}}}}}"#)),
        sample("tx", &segwit_bytes, format!(r#"{{"Tx":{{"tx":{segwit_json}}}}}"#)),
        sample(
            "block",
            [header(1), transactions.clone()].concat(),
            format!(r#"{{"Block":{{"header":{},"transactions":[{segwit_json},{legacy_json}]}}}}"#, header_json(1)),
        ),
        sample(
            "cmpctblock",
            [header(2), 99u64.to_le_bytes().to_vec(), short_ids, prefilled].concat(),
            format!(
                concat!(
                    r#"{{"Compactblock":{{"header":{},"nonce":99,"short_ids":[[1,2,3,4,5,6],[7,8,9,10,11,12]],"#,
                    r#""transactions":[{{"diff_index":0,"tx":{}}},{{"diff_index":300,"tx":{}}}]}}}}"#
                ),
                header_json(2),
                legacy_json,
                segwit_json
            ),
        ),
        sample(
            "getblocktxn",
            [&hash(3)[..], &counted(&[&[1], &[0], &[253, 44, 1]])].concat(),
            format!(r#"{{"Getblocktxn":{{"block_hash":{},"tx_indexes":[1,2,303]}}}}"#, hash_ints(3)),
        ),
        sample(
            "blocktxn",
            [&hash(4)[..], &transactions].concat(),
            format!(r#"{{"Blocktxn":{{"block_hash":{},"transactions":[{segwit_json},{legacy_json}]}}}}"#, hash_ints(4)),
        ),
    ]
}

fn bloom() -> Vec<Sample> {
    vec![
        sample("filteradd", [3, 9, 8, 7], r#"{"Filteradd":{"filter":[9,8,7]}}"#),
        sample(
            "filterload",
            [2, 0xb5, 0x0f, 11, 0, 0, 0, 5, 0, 0, 128, 2],
            r#"{"Filterload":{"filter":[181,15],"hash_funcs":11,"tweak":2147483653,"flags":2}}"#,
        ),
        sample(
            "merkleblock",
            [&serialize(&header(6))[..], &7u32.to_le_bytes(), &counted(&[&hash(7), &hash(8)]), &[2, 0b101, 0x80]]
                .concat(),
            format!(
                concat!(
                    r#"{{"Merkleblock":{{"header":{},"num_transactions":7,"#,
                    r#""bits":[true,false,true,false,false,false,false,false,"#,
                    r#"false,false,false,false,false,false,false,true],"hashes":[{},{}]}}}}"#
                ),
                header_json(6),
                hash_ints(7),
                hash_ints(8)
            ),
        ),
    ]
}

fn filters() -> Vec<Sample> {
    let [stop, previous, one, two] = [1, 2, 3, 4].map(hash_ints);
    let range = [&[1], &800_000u32.to_le_bytes()[..], &hash(1)].concat();
    let range_json = format!(r#"{{"filter_type":1,"start_height":800000,"stop_hash":{stop}}}"#);
    let list = counted(&[&hash(3), &hash(4)]);
    vec![
        sample("getcfilters", &range, format!(r#"{{"Getcfilter":{range_json}}}"#)),
        sample("getcfheaders", &range, format!(r#"{{"Getcfheaders":{range_json}}}"#)),
        sample(
            "getcfcheckpt",
            [&[2], &hash(1)[..]].concat(),
            format!(r#"{{"Getcfcheckpt":{{"filter_type":2,"stop_hash":{stop}}}}}"#),
        ),
        sample(
            "cfilter",
            [&[3], &hash(1)[..], &[3, 7, 6, 5]].concat(),
            format!(r#"{{"Cfilter":{{"filter_type":3,"block_hash":{stop},"filter":[7,6,5]}}}}"#),
        ),
        sample(
            "cfheaders",
            [&[4], &hash(1)[..], &hash(2), &list].concat(),
            format!(
                concat!(
                    r#"{{"Cfheaders":{{"filter_type":4,"stop_hash":{},"previous_filter_header":{},"#,
                    r#""filter_hashes":[{},{}]}}}}"#
                ),
                stop, previous, one, two
            ),
        ),
        sample(
            "cfcheckpt",
            [&[5], &hash(1)[..], &list].concat(),
            format!(r#"{{"Cfcheckpt":{{"filter_type":5,"stop_hash":{stop},"filter_headers":[{one},{two}]}}}}"#),
        ),
    ]
}

fn others() -> Vec<Sample> {
    vec![
        sample("alert", [2, 5, 6, 1, 9], r#"{"Alert":{"alert":[5,6]}}"#),
        sample(
            "reject",
            [b"\x02tx\x42\x07too low", &hash(1)[..]].concat(),
            format!(
                r#"{{"Reject":{{"rejected_command":"tx","reason":6,"reason_details":"too low","hash":{}}}}}"#,
                hash_ints(1)
            ),
        ),
        sample("getutxos", [1, 2], r#"{"Unknown":{"command":"getutxos","payload":[1,2]}}"#),
        sample("pong", [1, 2, 3], {
            r#"{"Undecodable":{"command":"pong","payload":[1,2,3],"error":"the payload ends before the message does"}}"#
        }),
    ]
}
