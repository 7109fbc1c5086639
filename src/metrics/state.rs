//! What falls out of the tables of several events ([`Table`](crate::table::Table)), counted by table and cause.

use super::{
    family::{ALWAYS, Counters, families},
    labels::Label,
};

families! {
    struct State with _options {
        /// Entries that fell out of the exporter's tables before the event that they waited for came, by table: the
        /// table was full, or the entry too old. Closed peers and addresses, and rejections, are meant to grow old:
        /// they count only if the table was full. Dropped requests and compact blocks count in
        /// bitcointap_p2p_requests_unanswered_total and bitcointap_p2p_compact_block_reconstructions_total instead.
        state_dropped_total: Counters<2> = [table(), Label::new("cause", ["full", "old"])], from ALWAYS;
    }
}

/// The table: places in the label `table`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// Connected peers.
    Peers,
    /// Peers with a connection that closed a moment ago.
    ClosedPeers,
    /// Addresses with a connection that closed a while ago.
    ClosedAddresses,
    /// The node's pings.
    Pings,
    /// Connections without the peer's verack.
    Handshakes,
    /// Blocks that were announced.
    Announcements,
    /// Transactions rejected a moment ago.
    Rejections,
}

fn table() -> Label {
    let tables = ["peers", "closed_peers", "closed_addresses", "pings", "handshakes", "announcements", "rejections"];
    Label::new("table", tables)
}

/// Why an entry fell out: places in the label `cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Full,
    Old,
}

impl State {
    pub(super) fn dropped(&self, of: Of, cause: Cause) {
        self.state_dropped_total.at([of as usize, cause as usize]).inc();
    }
}
