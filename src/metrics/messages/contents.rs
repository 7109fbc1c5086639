//! Messages that consist of a number or a few. In: headers, compact blocks, fee filters, pings and rejections. Out:
//! families by direction. Inventories, addresses and version messages have files of their own.

use bitcoin::{Amount, p2p::message_network::RejectReason};
use prometheus::IntCounter;

use crate::metrics::{
    family::{Counters, Histograms, families},
    labels::{INBOUND_MESSAGES, Label, MESSAGES, direction},
};
use crate::p2p;

/// Upper bounds in satoshis for 1000 virtual bytes. Bitcoin Core sends about 10,000,000 while it wants no transactions.
const FEE_FILTERS: &[f64] = &[0.0, 100.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7];

families! {
    struct Contents with _options {
        /// Headers in headers messages. The same header counts for each peer that sends or receives it.
        p2p_headers_total: Counters<1> = [direction()], from &MESSAGES;

        /// Transactions requested in getblocktxn messages, because a compact block could not be reconstructed without
        /// them.
        p2p_block_transactions_requested_total: Counters<1> = [direction()], from &MESSAGES;

        /// Transactions of the blocks in cmpctblock messages: named by short_id, or prefilled, which means sent along.
        p2p_compact_block_transactions_total: Counters<2> = [direction(), compact_kind()], from &MESSAGES;

        /// Lowest feerates in feefilter messages, which ask for no transaction that pays less. Bitcoin Core sends about
        /// 10000000 while it wants none. Does not include feerates that it ignores: below 0, or more than all money.
        p2p_feefilter_satoshis_per_kvbyte: Histograms<1> = ([direction()], FEE_FILTERS), from &MESSAGES;

        /// Pings of peers by the fewest bits that hold their nonce, from the tracepoint net:inbound_message: none for a
        /// ping without one, zero, u8, u16, u32, u64. Bitcoin Core's nonces are random, so nearly all are u64; others
        /// show other software.
        p2p_ping_nonces_total: Counters<1> = [Label::new("width", WIDTHS)], from INBOUND_MESSAGES;

        /// reject messages (BIP 61, which Bitcoin Core no longer sends) by the command that was rejected (version, tx
        /// or block, else other) and by code. Messages with a code that BIP 61 does not have are undecodable and do not
        /// count.
        p2p_rejects_total: Counters<3> = [direction(), rejected(), code()], from &MESSAGES;
    }
}

fn compact_kind() -> Label {
    Label::new("kind", ["short_id", "prefilled"])
}

const WIDTHS: [&str; 6] = ["none", "zero", "u8", "u16", "u32", "u64"];

/// Its place in [`WIDTHS`].
fn width(nonce: Option<u64>) -> usize {
    match nonce {
        None => 0,
        Some(0) => 1,
        Some(1..=0xff) => 2,
        Some(0x100..=0xffff) => 3,
        Some(0x1_0000..=0xffff_ffff) => 4,
        Some(0x1_0000_0000..) => 5,
    }
}

/// The commands that Bitcoin Core has ever sent rejections of.
const REJECTED: [&str; 3] = ["version", "tx", "block"];

fn rejected() -> Label {
    Label::new("command", REJECTED.into_iter().chain(["other"]))
}

fn rejected_place(command: &str) -> usize {
    REJECTED.iter().position(|&known| known == command).unwrap_or(REJECTED.len())
}

/// In the order of [`p2p::reject_place`]. Bitcoin Core's names were REJECT_MALFORMED and so on.
fn code() -> Label {
    let codes =
        ["malformed", "invalid", "obsolete", "duplicate", "nonstandard", "dust", "insufficientfee", "checkpoint"];
    Label::new("code", codes)
}

fn add(counter: &IntCounter, count: usize) {
    counter.inc_by(count as u64);
}

impl Contents {
    pub(super) fn headers(&self, direction: usize, headers: usize) {
        add(self.p2p_headers_total.at([direction]), headers);
    }

    pub(super) fn block_transactions_requested(&self, direction: usize, transactions: usize) {
        add(self.p2p_block_transactions_requested_total.at([direction]), transactions);
    }

    pub(super) fn compact_block(&self, direction: usize, short_ids: usize, prefilled: usize) {
        for (kind, transactions) in [short_ids, prefilled].into_iter().enumerate() {
            add(self.p2p_compact_block_transactions_total.at([direction, kind]), transactions);
        }
    }

    pub(super) fn fee_filter(&self, direction: usize, fee: i64) {
        if u64::try_from(fee).is_ok_and(|fee| fee <= Amount::MAX_MONEY.to_sat()) {
            self.p2p_feefilter_satoshis_per_kvbyte.at([direction]).observe(fee as f64);
        }
    }

    /// A peer's.
    pub(super) fn ping(&self, nonce: Option<u64>) {
        self.p2p_ping_nonces_total.at([width(nonce)]).inc();
    }

    pub(super) fn reject(&self, direction: usize, rejected: &str, code: RejectReason) {
        self.p2p_rejects_total.at([direction, rejected_place(rejected), p2p::reject_place(code).into()]).inc();
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::hashes::{Hash, sha256d};

    use super::*;
    use crate::{
        event::Kind,
        json::Bytes,
        metrics::testing::{assert_histogram_of_one, message, told},
        p2p::True,
    };

    fn decoded<'a>(inbound: bool, command: &'a str, payload: &'a [u8]) -> Kind<'a> {
        let msg = p2p::decode(command, payload);
        assert!(!matches!(msg, p2p::Message::Undecodable { .. }), "{command}: {msg:?}");
        message(inbound, command, payload.len() as u64, msg)
    }

    #[test]
    fn headers_and_requested_transactions_are_summed() {
        let headers = [&[3][..], &[0; 3 * 81]].concat();
        let request = [&[9; 32][..], &[4, 0, 1, 2, 0]].concat();
        let mut told = told();
        told.tell(decoded(true, "headers", &headers))
            .tell(decoded(true, "headers", &headers))
            .tell(decoded(false, "getblocktxn", &request))
            .assert("p2p_headers_total", &["{direction=\"inbound\"} 6"])
            .assert("p2p_block_transactions_requested_total", &["{direction=\"outbound\"} 4"]);
    }

    #[test]
    fn transactions_of_compact_blocks_count_by_how_they_come() {
        let shortest = [&[2, 0, 0, 0][..], &[0, 0], &[0; 4]].concat();
        let compact =
            [&[0; 80][..], &[0; 8], &[2], &[5; 12], &[3], &[0], &shortest, &[0], &shortest, &[0], &shortest].concat();
        let mut told = told();
        told.tell(decoded(true, "cmpctblock", &compact)).assert(
            "p2p_compact_block_transactions_total",
            &["{direction=\"inbound\",kind=\"prefilled\"} 3", "{direction=\"inbound\",kind=\"short_id\"} 2"],
        );
    }

    #[test]
    fn fee_filters_that_no_node_heeds_do_not_count() {
        let filter = |fee| message(true, "feefilter", 8, p2p::Message::Feefilter { fee });
        let mut told = told();
        told.tell(filter(-1)).tell(filter(i64::MAX)).tell(filter(2_100_000_000_000_001)).tell(filter(1_000));
        let bounds = ["1000", "2000", "5000", "10000", "20000", "50000", "100000", "1000000", "10000000", "+Inf"];
        let label = "direction=\"inbound\",";
        assert_histogram_of_one(&told, "p2p_feefilter_satoshis_per_kvbyte", label, &bounds, 1_000.0);
        told.tell(filter(2_100_000_000_000_000));
        let lines = told.family("p2p_feefilter_satoshis_per_kvbyte").unwrap();
        assert_eq!(lines.last().unwrap(), "_count{direction=\"inbound\"} 2");
    }

    #[test]
    fn nonces_of_peers_pings_count_by_width() {
        let ping = |inbound, value| message(inbound, "ping", 8, p2p::Message::Ping { value });
        let mut told = told();
        told.tell(message(true, "ping", 0, p2p::Message::Oldping(True)));
        told.tell(message(false, "ping", 0, p2p::Message::Oldping(True))).tell(ping(false, 1));
        for value in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            told.tell(ping(true, value));
        }
        told.tell(message(true, "pong", 8, p2p::Message::Pong { value: 1 })).assert(
            "p2p_ping_nonces_total",
            &[
                "{width=\"none\"} 1",
                "{width=\"u16\"} 2",
                "{width=\"u32\"} 2",
                "{width=\"u64\"} 2",
                "{width=\"u8\"} 2",
                "{width=\"zero\"} 1",
            ],
        );
    }

    #[test]
    fn rejections_count_by_what_was_rejected_and_code() {
        let reject = |rejected: &'static str, reason| {
            let hash = sha256d::Hash::all_zeros();
            let msg =
                p2p::Message::Reject { rejected_command: rejected.into(), reason, reason_details: "".into(), hash };
            message(true, "reject", 10, msg)
        };
        let mut told = told();
        told.tell(reject("tx", RejectReason::Fee))
            .tell(reject("tx", RejectReason::Fee))
            .tell(reject("version", RejectReason::Obsolete))
            .tell(reject("made-up", RejectReason::Malformed))
            .tell(message(true, "made-up", 2, p2p::Message::Unknown { command: "made-up", payload: Bytes(b"tx") }))
            .assert(
                "p2p_rejects_total",
                &[
                    "{code=\"insufficientfee\",command=\"tx\",direction=\"inbound\"} 2",
                    "{code=\"malformed\",command=\"other\",direction=\"inbound\"} 1",
                    "{code=\"obsolete\",command=\"version\",direction=\"inbound\"} 1",
                ],
            );
    }
}
