//! How blocks come. In: their announcements, compact and whole, and when the node connects them. Out: what compact
//! blocks needed to be reconstructed, and the time from the first announcement until the node connected the block.

use std::{collections::BTreeMap, time::Duration};

use bitcoin::{BlockHash, block::Header, hashes::Hash as _, p2p::message_blockdata::Inventory};
use prometheus::Histogram;

use crate::metrics::{
    Options,
    family::{Counters, families},
    labels::{INBOUND_MESSAGES, Label, OUTBOUND_MESSAGES},
    state::{Cause, Of, State},
};
use crate::{
    event::{Moment, Time},
    p2p::Items,
    table::Table,
    tracepoint::Tracepoint,
};

const BLOCKS: &[Tracepoint] = &[Tracepoint::ValidationBlockConnected];

/// Upper bounds in seconds.
const RELAYS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];

/// A block with an older header when it is connected belongs to catching up.
const NEW: Duration = Duration::from_secs(2 * 60 * 60);

/// How long to wait for a block.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How many blocks to wait for.
const MOST: usize = 4096;

/// How many of them may come from one peer, which may make them up: no peer can remove what others announced.
const MOST_OF_PEER: u8 = 16;

/// MAX_BLOCKS_TO_ANNOUNCE in Bitcoin Core. Longer messages answer a request, or come unasked.
pub(super) const MOST_ANNOUNCED: usize = 8;

/// How many connected blocks to remember, so that late announcements start no wait.
const MOST_CONNECTED: usize = 1024;

families! {
    struct Families with _options {
        /// Blocks that came in as compact blocks (BIP 152), by what the node needed to reconstruct them before it
        /// connected them: nothing but the mempool (from_mempool), a getblocktxn (requested_transactions), or the whole
        /// block (full_block). A block counts once, however many peers sent it. Unfinished are those not connected
        /// within ten minutes, such as stale ones. Lost events make the result wrong.
        p2p_compact_block_reconstructions_total: Counters<1> = [Label::new("result", RESULTS)], from INBOUND_MESSAGES, OUTBOUND_MESSAGES, BLOCKS;

        /// From the first unasked announcement of a block (inv, headers or cmpctblock, when the node processes it)
        /// until the node connected the block. Only blocks with a header less than two hours old count. So it leaves
        /// out blocks of the initial download, blocks connected before they were announced (as the node's own), and
        /// blocks that lost a race: those that are never connected, or later at or below the previous height, in a
        /// reorganisation.
        p2p_block_announcement_to_connected_seconds: Histogram = RELAYS, from INBOUND_MESSAGES, OUTBOUND_MESSAGES, BLOCKS;
    }
}

const RESULTS: [&str; 4] = ["from_mempool", "requested_transactions", "full_block", "unfinished"];

/// Places in [`RESULTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    FromMempool,
    RequestedTransactions,
    FullBlock,
    Unfinished,
}

type Hash = [u8; 32];

pub(super) struct Relay {
    pub(super) families: Families,
    blocks: Table<Hash, Block>,
    /// How many of `blocks` each peer was the first to name.
    named: BTreeMap<i64, u8>,
    connected: Table<Hash, ()>,
}

/// A block that is not connected yet.
#[derive(Debug)]
struct Block {
    /// The peer that named it first.
    peer: i64,
    announced: Option<Moment>,
    /// UNIX time in its header, once the header came.
    header_time: Option<u32>,
    /// How it is being reconstructed, if it came as a compact block.
    compact: Option<Made>,
    /// Whether it came whole.
    whole: bool,
}

impl Relay {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            families: Families::new(options),
            blocks: Table::new(MOST, PATIENCE),
            named: BTreeMap::new(),
            connected: Table::new(MOST_CONNECTED, NEW),
        }
    }

    /// From a peer, as the following ones.
    pub(super) fn inv(&mut self, now: Moment, peer: i64, items: Items<'_>, state: &State) {
        let blocks = || {
            items.iter().filter_map(|item| match item {
                Inventory::Block(hash) | Inventory::WitnessBlock(hash) | Inventory::CompactBlock(hash) => Some(hash),
                Inventory::Transaction(_)
                | Inventory::WitnessTransaction(_)
                | Inventory::WTx(_)
                | Inventory::Unknown { .. }
                | Inventory::Error => None,
            })
        };
        if blocks().take(MOST_ANNOUNCED + 1).count() <= MOST_ANNOUNCED {
            blocks().for_each(|hash| self.announce(now, peer, hash, None, state));
        }
    }

    /// Unasked headers.
    pub(super) fn headers(&mut self, now: Moment, peer: i64, headers: &[Header], state: &State) {
        if headers.len() <= MOST_ANNOUNCED {
            for header in headers {
                self.announce(now, peer, header.block_hash(), Some(header.time), state);
            }
        }
    }

    fn announce(&mut self, now: Moment, peer: i64, hash: BlockHash, header_time: Option<u32>, state: &State) {
        if let Some(block) = self.block(now, peer, hash, state) {
            block.announced = block.announced.or(Some(now));
            block.header_time = block.header_time.or(header_time);
        }
    }

    pub(super) fn compact_block(
        &mut self,
        now: Moment,
        peer: i64,
        header: &Header,
        hash: BlockHash,
        is_announcement: bool,
        state: &State,
    ) {
        if let Some(block) = self.block(now, peer, hash, state) {
            block.announced = block.announced.or(is_announcement.then_some(now));
            block.header_time = Some(header.time);
            // If the block is there and waits for its parent, a compact block changes nothing.
            let made = if block.whole { Made::FullBlock } else { Made::FromMempool };
            block.compact = block.compact.or(Some(made));
        }
    }

    pub(super) fn whole_block(&mut self, header: &Header, hash: BlockHash) {
        if let Some(block) = self.blocks.get_mut(&hash.to_byte_array()) {
            block.header_time = Some(header.time);
            block.compact = block.compact.map(|_| Made::FullBlock);
            block.whole = true;
        }
    }

    /// The node asked for transactions of a compact block.
    pub(super) fn transactions_requested(&mut self, hash: BlockHash) {
        if let Some(Block { compact: Some(made @ Made::FromMempool), .. }) = self.blocks.get_mut(&hash.to_byte_array())
        {
            *made = Made::RequestedTransactions;
        }
    }

    pub(super) fn connected(&mut self, time: Time, now: Moment, hash: Hash, is_ahead: bool) {
        self.connected.insert(now, hash, ());
        let Some((_, block)) = self.blocks.remove(&hash) else { return };
        self.forget(&block);
        if let Some(made) = block.compact {
            self.families.p2p_compact_block_reconstructions_total.at([made as usize]).inc();
        }
        let made_at = |header_time: u32| Duration::from_secs(header_time.into());
        let is_new = |header_time| Duration::from_nanos(time.0).saturating_sub(made_at(header_time)) < NEW;
        if let Some(announced) = block.announced
            && block.header_time.is_some_and(is_new)
            && is_ahead
        {
            let seconds = now.since(announced).as_secs_f64();
            self.families.p2p_block_announcement_to_connected_seconds.observe(seconds);
        }
    }

    pub(super) fn closed(&mut self, peer: i64) {
        // The blocks that it named first may still come.
        self.named.remove(&peer);
    }

    pub(super) fn node_gone(&mut self) {
        self.blocks.values().for_each(|block| self.unfinished(block));
        self.blocks.clear();
        self.connected.clear();
        self.named.clear();
    }

    pub(super) fn sweep(&mut self, now: Moment, state: &State) {
        while let Some((_, block)) = self.blocks.pop_old(now) {
            self.fell_out(&block, Cause::Old, state);
        }
    }

    /// The block of this hash, entered if it is new; `None` if it is already connected, or if the peer names too many.
    fn block(&mut self, now: Moment, peer: i64, hash: BlockHash, state: &State) -> Option<&mut Block> {
        let hash = hash.to_byte_array();
        if self.blocks.get(&hash).is_none() {
            if self.connected.get(&hash).is_some() {
                return None;
            }
            let named = self.named.entry(peer).or_default();
            if *named >= MOST_OF_PEER {
                state.dropped(Of::Announcements, Cause::Full);
                return None;
            }
            *named += 1;
            let block = Block { peer, announced: None, header_time: None, compact: None, whole: false };
            if let Some((_, oldest)) = self.blocks.insert(now, hash, block) {
                self.fell_out(&oldest, Cause::Full, state);
            }
        }
        self.blocks.get_mut(&hash)
    }

    fn fell_out(&mut self, block: &Block, cause: Cause, state: &State) {
        self.forget(block);
        self.unfinished(block);
        if block.compact.is_none() {
            state.dropped(Of::Announcements, cause);
        }
    }

    fn unfinished(&self, block: &Block) {
        if block.compact.is_some() {
            self.families.p2p_compact_block_reconstructions_total.at([Made::Unfinished as usize]).inc();
        }
    }

    /// It is no longer one of those that its peer named.
    fn forget(&mut self, block: &Block) {
        if let Some(named) = self.named.get_mut(&block.peer) {
            *named = named.saturating_sub(1);
            if *named == 0 {
                self.named.remove(&block.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::{
        bip152::BlockTransactionsRequest,
        consensus::serialize,
        p2p::{message_blockdata::GetHeadersMessage, message_compact_blocks::GetBlockTxn},
    };

    use super::*;
    use crate::{
        event::Kind,
        metrics::testing::{
            Told, assert_histogram_of_one, block_of, closed, compact_of, connected, header_after, headers_of, told,
            with_peer,
        },
    };

    const EIGHTY: Duration = Duration::from_millis(80);

    fn header(time: u32) -> Header {
        header_after(BlockHash::all_zeros(), time)
    }

    fn inv(hashes: &[BlockHash]) -> Vec<u8> {
        serialize(&hashes.iter().copied().map(Inventory::Block).collect::<Vec<_>>())
    }

    fn getblocktxn(block_hash: BlockHash) -> Vec<u8> {
        serialize(&GetBlockTxn { txs_request: BlockTransactionsRequest { block_hash, indexes: vec![1] } })
    }

    fn connect(header: Header) -> Kind<'static> {
        connected(header.block_hash().to_byte_array(), 1)
    }

    #[track_caller]
    fn assert_made(told: &Told, results: &[&str]) {
        let lines: Vec<_> = results.iter().map(|result| format!("{{result=\"{result}\"}} 1")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        told.assert("p2p_compact_block_reconstructions_total", &lines);
    }

    const RELAYED: &str = "p2p_block_announcement_to_connected_seconds";

    #[test]
    fn a_compact_block_is_made_of_what_it_took() {
        let header = header(900);
        let (compact, whole, ask) = (compact_of(header), block_of(header), getblocktxn(header.block_hash()));
        let mut plain = told();
        plain.tell(with_peer(1, true, "cmpctblock", &compact)).tell(with_peer(2, true, "cmpctblock", &compact));
        assert_made(&plain, &[]);
        plain.tell(connect(header));
        assert_made(&plain, &["from_mempool"]);
        // Late announcements start no wait.
        plain.tell(with_peer(3, true, "cmpctblock", &compact)).tell(connect(header));
        plain.metrics.node_gone();
        assert_made(&plain, &["from_mempool"]);

        let mut asked = told();
        asked
            .tell(with_peer(1, true, "cmpctblock", &compact))
            .tell(with_peer(1, false, "getblocktxn", &ask))
            .tell(with_peer(2, true, "cmpctblock", &compact))
            .tell(connect(header));
        assert_made(&asked, &["requested_transactions"]);

        let mut failed = told();
        failed
            .tell(with_peer(1, true, "cmpctblock", &compact))
            .tell(with_peer(1, false, "getblocktxn", &ask))
            .tell(with_peer(1, true, "block", &whole))
            .tell(with_peer(1, false, "getblocktxn", &ask))
            .tell(connect(header));
        assert_made(&failed, &["full_block"]);

        let mut stale = told();
        stale.tell(with_peer(1, true, "cmpctblock", &compact)).tell_after(PATIENCE, with_peer(1, true, "verack", &[]));
        assert_made(&stale, &["unfinished"]);
        stale.tell(connect(header));
        assert_made(&stale, &["unfinished"]);

        let mut ended = told();
        ended.tell(with_peer(1, true, "cmpctblock", &compact));
        ended.metrics.node_gone();
        assert_made(&ended, &["unfinished"]);
        // One that was never compact, and one that the node sends.
        let mut other = told();
        other
            .tell(with_peer(1, true, "block", &whole))
            .tell(with_peer(1, false, "cmpctblock", &compact))
            .tell(connect(header));
        assert_made(&other, &[]);
        other.assert(RELAYED, &[]);
    }

    #[test]
    fn a_compact_block_that_comes_after_the_whole_one_made_nothing() {
        let header = header(900);
        let mut told = told();
        told.tell(with_peer(1, true, "headers", &headers_of(&[header])))
            .tell(with_peer(1, true, "block", &block_of(header)))
            .tell(with_peer(2, true, "cmpctblock", &compact_of(header)))
            .tell(connect(header));
        assert_made(&told, &["full_block"]);
    }

    #[test]
    fn the_first_announcement_counts_in_each_form() {
        let header = header(900);
        let (hash, whole) = (inv(&[header.block_hash()]), block_of(header));
        let (headers, compact) = (headers_of(&[header]), compact_of(header));
        let bounds = ["0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "120", "600", "+Inf"];
        for (command, payload) in [("inv", &hash), ("headers", &headers), ("cmpctblock", &compact)] {
            let mut told = told();
            told.tell(with_peer(1, true, command, payload))
                .tell_after(EIGHTY, with_peer(2, true, "cmpctblock", &compact))
                .tell_after(EIGHTY, with_peer(1, true, "block", &whole))
                .tell_after(Duration::ZERO, connect(header));
            assert_histogram_of_one(&told, RELAYED, "", &bounds, 0.16);
        }
    }

    #[test]
    fn what_was_asked_for_is_no_announcement() {
        let header = header(900);
        let locator = serialize(&GetHeadersMessage::new(vec![header.prev_blockhash], BlockHash::all_zeros()));
        let wanted = serialize(&vec![Inventory::CompactBlock(header.block_hash())]);
        let mut told = told();
        told.tell(with_peer(1, false, "getheaders", &locator))
            .tell(with_peer(1, true, "headers", &headers_of(&[header])))
            .tell(with_peer(1, false, "getdata", &wanted))
            .tell(with_peer(1, true, "cmpctblock", &compact_of(header)))
            .tell(connect(header))
            .assert(RELAYED, &[]);
        assert_made(&told, &["from_mempool"]);
    }

    #[test]
    fn only_new_blocks_count() {
        let two_hours = 2 * 60 * 60;
        for (age, counts) in [(two_hours + 2, false), (two_hours - 2, true)] {
            let mut told = told();
            told.second = 1_000_000;
            let header = header(1_000_000 - age);
            told.tell(with_peer(1, true, "headers", &headers_of(&[header]))).tell(connect(header));
            assert_eq!(told.family(RELAYED).unwrap().is_empty(), !counts);
        }
    }

    #[test]
    fn a_block_that_lost_a_race_does_not_count() {
        let [first, rival, next] = [900, 901, 902].map(header);
        let connect = |header: Header, height| connected(header.block_hash().to_byte_array(), height);
        let mut told = told();
        told.tell(with_peer(1, true, "headers", &headers_of(&[first])))
            .tell_after(EIGHTY, connect(first, 7))
            .tell_after(EIGHTY, with_peer(2, true, "headers", &headers_of(&[rival])));
        // Ten minutes later one on top of the rival makes the node connect both.
        told.tell_after(PATIENCE - EIGHTY, with_peer(2, true, "headers", &headers_of(&[next])))
            .tell_after(EIGHTY, connect(rival, 7))
            .tell_after(Duration::ZERO, connect(next, 8));
        assert_eq!(told.family(RELAYED).unwrap().last().unwrap(), "_count 2");
        told.assert("validation_reorganised_blocks_total", &["1"]);
    }

    #[test]
    fn many_at_once_are_no_announcement() {
        let headers: Vec<Header> = (0..9).map(|time| header(900 + time)).collect();
        let hashes: Vec<BlockHash> = headers.iter().map(Header::block_hash).collect();
        let mut told = told();
        told.tell(with_peer(1, true, "headers", &headers_of(&headers)))
            .tell(with_peer(1, true, "inv", &inv(&hashes)))
            .tell(with_peer(1, true, "block", &block_of(headers[0])))
            .tell(connect(headers[0]))
            .assert(RELAYED, &[]);
        told.tell(with_peer(1, true, "headers", &headers_of(&headers[1..])));
        told.tell(connected(headers[8].block_hash().to_byte_array(), 2));
        assert_eq!(told.family(RELAYED).unwrap().last().unwrap(), "_count 1");
    }

    #[test]
    fn no_peer_drives_out_what_others_announced() {
        let header = header(900);
        let mut told = told();
        told.tell(with_peer(1, true, "headers", &headers_of(&[header])));
        for number in 0..1_000u32 {
            let mut hash = [1; 32];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            let made_up = inv(&[BlockHash::from_byte_array(hash)]);
            told.tell_after(Duration::ZERO, with_peer(2, true, "inv", &made_up));
        }
        told.tell_after(EIGHTY, connect(header));
        assert_eq!(told.family(RELAYED).unwrap().last().unwrap(), "_count 1");
        told.assert("state_dropped_total", &["{cause=\"full\",table=\"announcements\"} 984"]);
        // Those that were let in grow old, and make room for others of the peer.
        told.tell_after(PATIENCE, with_peer(1, true, "verack", &[]));
        told.tell(closed(1)).assert(
            "state_dropped_total",
            &["{cause=\"full\",table=\"announcements\"} 984", "{cause=\"old\",table=\"announcements\"} 16"],
        );
        told.tell(with_peer(2, true, "cmpctblock", &compact_of(header_after(header.block_hash(), 901))));
        told.metrics.node_gone();
        assert_eq!(told.family("p2p_compact_block_reconstructions_total").unwrap(), ["{result=\"unfinished\"} 1"]);
    }
}
