//! Made-up events of the sizes that a node sees. In: nothing. Out: [`Sample`]s by name.

use std::{fmt, net::Ipv4Addr};

use bitcointap::{
    bitcoin::{
        Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid,
        VarInt, Witness,
        absolute::LockTime,
        block::{self, Header},
        consensus::serialize,
        hashes::Hash as _,
        transaction::Version,
    },
    event::{
        Event, Kind, Moment, Time,
        mempool::Mempool,
        net::{Conn, Connection, ConnectionType, Message, Meta},
        utxocache::{Coin, Utxocache},
        validation::Validation,
    },
    json::Hash,
    p2p,
};

/// What a bench measures.
pub struct Sample {
    name: &'static str,
    what: What,
}

enum What {
    Message {
        command: &'static str,
        payload: Vec<u8>,
    },
    /// One event, or several where only several restore the state.
    Happening(fn() -> Vec<Kind<'static>>),
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Sample {
    /// Command and payload.
    pub fn message(&self) -> (&str, &[u8]) {
        match &self.what {
            What::Message { command, payload } => (command, payload),
            What::Happening(_) => panic!("{self} is no message"),
        }
    }

    pub fn events(&self) -> Vec<Event<'_>> {
        let kinds = match &self.what {
            What::Message { command, payload } => vec![message(command, payload)],
            What::Happening(kinds) => kinds(),
        };
        let event = |kind| Event { time: Time(1_747_158_913_000_000_000), moment: Moment(9_000_000_000), kind };
        kinds.into_iter().map(event).collect()
    }
}

/// From a peer to the node.
fn message<'a>(command: &'a str, payload: &'a [u8]) -> Kind<'a> {
    let meta = Meta::new(PEER, ADDRESS, ConnectionType::OutboundFullRelay, command, true, payload.len() as u64);
    Kind::Msg(Message { meta, msg: p2p::decode(command, payload), payload: Some(payload) })
}

const PEER: i64 = 11;
const ADDRESS: &str = "203.0.113.7:8333";

pub fn messages() -> Vec<Sample> {
    let sample = |name, command, payload| Sample { name, what: What::Message { command, payload } };
    vec![
        sample("verack", "verack", vec![]),
        sample("unknown", "made-up", bytes(32)),
        sample("ping", "ping", bytes(8)),
        sample("pong", "pong", bytes(8)),
        sample("feefilter", "feefilter", 1000i64.to_le_bytes().into()),
        sample("version", "version", version()),
        sample("inv of 1", "inv", inventory(WTX, 1)),
        sample("inv of 35", "inv", inventory(WTX, 35)),
        sample("inv of 1000", "inv", inventory(WTX, 1000)),
        sample("getdata of 1", "getdata", inventory(WITNESS_BLOCK, 1)),
        sample("getdata of 35", "getdata", inventory(WTX, 35)),
        sample("tx", "tx", serialize(&transaction())),
        sample("addr of 1000", "addr", counted(1000, &addr())),
        sample("addrv2 of 10", "addrv2", counted(10, &addrv2())),
        sample("addrv2 of 1000", "addrv2", counted(1000, &addrv2())),
        sample("getheaders", "getheaders", getheaders()),
        sample("headers of 1", "headers", counted(1, &announced_header())),
        sample("headers of 2000", "headers", counted(2000, &announced_header())),
        sample("cmpctblock", "cmpctblock", compact_block()),
        sample("getblocktxn", "getblocktxn", [bytes(32), counted(20, &[9])].concat()),
        sample("block", "block", [serialize(&header()), counted(2500, &serialize(&transaction()))].concat()),
        // The most that a peer can send: 4,000,000 bytes, or as many items as Bitcoin Core accepts. The smallest
        // transaction has neither inputs nor outputs.
        sample("inv of 50000", "inv", inventory(WTX, 50_000)),
        sample("getdata of 50000", "getdata", inventory(WITNESS_BLOCK, 50_000)),
        sample(
            "cmpctblock of 65535",
            "cmpctblock",
            [serialize(&header()), bytes(8), counted(65_535, &bytes(6)), vec![0]].concat(),
        ),
        sample("getblocktxn of 65535", "getblocktxn", [bytes(32), counted(65_535, &[0])].concat()),
        sample("block of 399991", "block", [serialize(&header()), counted(399_991, &[0; 10])].concat()),
        sample("block of 65573", "block", [serialize(&header()), counted(65_573, &tiny_transaction())].concat()),
        sample(
            "tx of 444000 outputs",
            "tx",
            [&[2, 0, 0, 0, 1][..], &[0; 41], &counted(444_000, &[0; 9]), &[0; 4]].concat(),
        ),
        sample(
            "tx of 3999900 items",
            "tx",
            [&[2, 0, 0, 0, 0, 1, 1][..], &[0; 41], &[0], &counted(3_999_900, &[0]), &[0; 4]].concat(),
        ),
    ]
}

pub fn happenings() -> Vec<Sample> {
    let sample = |name, kinds| Sample { name, what: What::Happening(kinds) };
    vec![
        sample("connection opened, closed", || vec![opened(), closed()]),
        sample("mempool:added", || vec![mempool(Mempool::Added { txid: HASH, vsize: 141, fee: 500 })]),
        sample("mempool:rejected", || {
            let reason = "min relay fee not met, 0 < 141".into();
            vec![mempool(Mempool::Rejected { txid: HASH, reason })]
        }),
        sample("validation:block_connected", || {
            let event = Validation::BlockConnected {
                hash: HASH,
                height: 896_001,
                transactions: 2_600,
                inputs: 6_500,
                sigops: 9_000,
                connection_time: 150_000_000,
            };
            vec![Kind::Validation { event }]
        }),
        sample("utxocache:add", || {
            let coin = Coin { txid: HASH, vout: 3, height: 896_001, value: 5_000_000, is_coinbase: false };
            vec![Kind::Utxocache { event: Utxocache::Add(coin) }]
        }),
    ]
}

fn mempool(event: Mempool<'static>) -> Kind<'static> {
    Kind::Mempool { event }
}

fn opened() -> Kind<'static> {
    Kind::Conn { event: Connection::Outbound { conn: conn(), existing_connections: 9 } }
}

fn closed() -> Kind<'static> {
    Kind::Conn { event: Connection::Closed { conn: conn(), time_established: 1_747_150_000 } }
}

fn conn() -> Conn<'static> {
    Conn { peer_id: PEER, addr: ADDRESS.into(), conn_type: ConnectionType::OutboundFullRelay, network: 1 }
}

const HASH: Hash = Hash([0xa5; 32]);

const WTX: u32 = 5;
const WITNESS_BLOCK: u32 = 0x4000_0002;

/// Bytes with one, two and three digits, as in a hash.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place * 167 + 13) as u8).collect()
}

/// The same entry repeated, after the number of entries.
fn counted(count: u64, entry: &[u8]) -> Vec<u8> {
    [serialize(&VarInt(count)), entry.repeat(count as usize)].concat()
}

fn inventory(item: u32, count: u64) -> Vec<u8> {
    counted(count, &[item.to_le_bytes().to_vec(), bytes(32)].concat())
}

fn version() -> Vec<u8> {
    let network_address = [&9u64.to_le_bytes()[..], &mapped([203, 0, 113, 7]), &8333u16.to_be_bytes()].concat();
    [
        &70016u32.to_le_bytes()[..],
        &9u64.to_le_bytes(),
        &1_747_158_913i64.to_le_bytes(),
        &network_address,
        &network_address,
        &bytes(8),
        &[16],
        b"/Satoshi:29.0.0/",
        &896_000i32.to_le_bytes(),
        &[1],
    ]
    .concat()
}

fn mapped(address: [u8; 4]) -> [u8; 16] {
    Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

fn addr() -> Vec<u8> {
    [&1_747_100_000u32.to_le_bytes()[..], &9u64.to_le_bytes(), &mapped([198, 51, 100, 9]), &8333u16.to_be_bytes()]
        .concat()
}

/// Tor v3, which has the most expensive name.
fn addrv2() -> Vec<u8> {
    [&1_747_100_000u32.to_le_bytes()[..], &[9, 4, 32], &bytes(32), &8333u16.to_be_bytes()].concat()
}

fn header() -> Header {
    Header {
        version: block::Version::TWO,
        prev_blockhash: BlockHash::from_byte_array(HASH.0),
        merkle_root: TxMerkleNode::from_byte_array(HASH.0),
        time: 1_747_158_900,
        bits: CompactTarget::from_consensus(0x1702_3774),
        nonce: 7,
    }
}

/// As in headers, with a number of transactions after it.
fn announced_header() -> Vec<u8> {
    [serialize(&header()), vec![0]].concat()
}

fn getheaders() -> Vec<u8> {
    [&70016u32.to_le_bytes()[..], &counted(30, &bytes(32)), &[0; 32]].concat()
}

/// A compact block of 2500 transactions that contains only the coinbase.
fn compact_block() -> Vec<u8> {
    let prefilled = [vec![0], serialize(&transaction())].concat();
    [serialize(&header()), bytes(8), counted(2499, &bytes(6)), counted(1, &prefilled)].concat()
}

/// Of 60 bytes: an input and an output, both without a script.
fn tiny_transaction() -> Vec<u8> {
    [&[2, 0, 0, 0, 1][..], &bytes(32), &[0; 4], &[0], &[0xff; 4], &[1], &[0; 9], &[0; 4]].concat()
}

/// Of 372 bytes: two inputs and two outputs, all P2WPKH.
fn transaction() -> Transaction {
    let input = TxIn {
        previous_output: OutPoint { txid: Txid::from_byte_array(HASH.0), vout: 1 },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[bytes(72), bytes(33)]),
    };
    let script_pubkey = ScriptBuf::from_bytes([vec![0, 20], bytes(20)].concat());
    let output = TxOut { value: Amount::from_sat(100_000), script_pubkey };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input.clone(), input],
        output: vec![output.clone(), output],
    }
}
