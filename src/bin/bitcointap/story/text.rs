//! The table. In: rows. Out: lines, in which texts of the node and of peers cannot harm a terminal.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use bitcointap::{capture::Run, event::Time, process::Chain, units};

use super::row::{Peer, Row, What};
use crate::screen::plain;

/// The most columns of an address: that of an onion service has 67 with its port, names of hosts may be longer.
const ADDRESS: usize = 80;
/// The most columns of a reason.
const REASON: usize = 200;

/// What stands above the first row.
pub fn head(out: &mut impl Write, first: Time) -> io::Result<()> {
    writeln!(out, "Seconds since {}", units::rfc3339(first))?;
    line(out, ["SECONDS", "PEER", "CONNECTION TYPE", "DIRECTION", "EVENT", "ADDRESS", "WHAT"])
}

/// What stands above the first row of another run.
pub fn run(number: u64, run: &Run) -> String {
    let of = [run.named.node(), run.host.as_deref(), run.chain.map(Chain::name)];
    let of: String = of.into_iter().flatten().map(|it| format!(", {}", plain(it, ADDRESS))).collect();
    format!("Run {number} of the node: pid {}{of}. It counts its peers from 0.\n", run.pid)
}

pub fn row(out: &mut impl Write, row: &Row<'_>) -> io::Result<()> {
    let since = row.since_first.map(|since| format!("{}.{:06}", since.as_secs(), since.subsec_micros()));
    let event = row.command.or_else(|| row.tracepoint.split(':').next()).unwrap_or_default();
    let (since, said) = (since.unwrap_or_default(), said(row));
    match &row.peer {
        Some(Peer { id, address, connection_type, direction }) => {
            line(out, [&since, &id.to_string(), connection_type, direction, event, &plain(address, ADDRESS), &said])
        }
        None => line(out, [&since, "", "", "", event, "", &said]),
    }
}

fn line(out: &mut impl Write, columns: [&str; 7]) -> io::Result<()> {
    let [since, id, connection_type, direction, event, address, what] = columns;
    writeln!(out, "{since:>13}  {id:>6}  {connection_type:<19}  {direction:<9}  {event:<12}  {address:<23}  {what}")
}

/// What the row says, in words.
fn said(row: &Row<'_>) -> String {
    let details = &row.details;
    let is_inbound = row.peer.as_ref().is_some_and(|peer| peer.direction == "inbound");
    let by_or = |outbound: &'static str| if is_inbound { "by the peer" } else { outbound };
    let to = by_or("to the peer");
    let mut said = match row.what {
        What::Announced => format!("announced {to}"),
        What::Requested => format!("requested {}", by_or("from the peer")),
        What::NotFound if is_inbound => "the peer does not have it".into(),
        What::NotFound => "the node does not have it".into(),
        What::Sent => format!("sent {to}"),
        What::SentAsHeader => format!("header sent {to}"),
        What::SentAsCompactBlock => format!("compact block sent {to}"),
        What::TransactionsRequested => format!("transactions of it requested {}", by_or("from the peer")),
        What::TransactionsSent => format!("transactions of it sent {to}"),
        What::InBlock => format!("sent {to}, in block"),
        What::InBlockByShortId => format!("named {to} by its short id, in block"),
        What::InLocator => format!("named {to}, among the blocks that the sender has"),
        What::AsLastBlock => format!("named {to}, as the last block of a range"),
        What::FilterSent => format!("filter sent {to}"),
        What::Refused => format!("refused {to}"),
        What::Added => "added to the mempool".into(),
        What::Removed => "removed from the mempool".into(),
        What::Rejected => "rejected by the mempool".into(),
        What::Replaced => "replaced by".into(),
        What::Replaces => "replaces".into(),
        What::Connected => "connected to the chain".into(),
        What::Lost => {
            let count = details.count.unwrap_or_default();
            format!("{count} events of {} are missing here, which may have named it", row.tracepoint)
        }
    };
    for hash in [details.block, details.other].into_iter().flatten() {
        let _ = write!(said, " {hash}");
    }
    if let Some(reason) = details.reason {
        let _ = write!(said, ": {}", plain(reason, REASON));
    }
    // In blocks it would be repeated.
    let is_whole = row.what == What::Sent;
    let more = [
        details.height.map(|height| format!("height {height}")),
        details.transactions.map(|count| format!("{count} transactions")),
        details.vsize.map(|vsize| format!("{vsize} vbytes")),
        details.fee.map(|fee| format!("fee {fee} satoshis")),
        details.txid.filter(|_| is_whole).map(|txid| format!("txid {txid}")),
        details.wtxid.filter(|wtxid| is_whole && Some(*wtxid) != details.txid).map(|wtxid| format!("wtxid {wtxid}")),
    ];
    for more in more.into_iter().flatten() {
        let _ = write!(said, ", {more}");
    }
    said
}
