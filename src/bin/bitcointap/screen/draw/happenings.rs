//! The latest events: connections, blocks, the mempool; newest first.

use bitcointap::{
    live::{ConnectionRow, Happened, Happening},
    tracepoint::Tracepoint,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style},
    text::{Line, Span},
};

use super::{BOLD, DIM, REVERSED, Shown, Theme, cut_pieces, netinfo, pieces};
use crate::screen::{keys::Pane, text};

/// One pane, with the titles of all.
pub fn tabbed(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, pane: Pane) {
    let tabs = Pane::ALL.map(|it| {
        let style = if it == pane { REVERSED.patch(BOLD) } else { DIM };
        vec![Span::styled(format!(" {} ", it.title()), style)]
    });
    list(frame, area, pieces(area.width, tabs), shown, pane);
}

/// One pane, with its title.
pub fn titled(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, pane: Pane) {
    let title = text::plain(&format!("{:1$}", pane.title(), area.width.into()), area.width.into());
    list(frame, area, Line::styled(title, REVERSED), shown, pane);
}

fn list(frame: &mut Frame<'_>, area: Rect, title: Line<'_>, shown: &Shown<'_>, pane: Pane) {
    let [first, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(title, first);
    use Tracepoint::{
        MempoolRejected, MempoolReplaced, NetClosedConnection, NetEvictedInboundConnection, NetInboundConnection,
        NetMisbehavingConnection, NetOutboundConnection, ValidationBlockConnected,
    };
    let happenings = match pane {
        Pane::Connections => &shown.snapshot.connections,
        Pane::Blocks => &shown.snapshot.blocks,
        Pane::Mempool => &shown.snapshot.mempool,
        Pane::Networks => return netinfo::draw(frame, rest, shown),
    };
    let told_by: &[Tracepoint] = match pane {
        Pane::Connections => &[
            NetInboundConnection,
            NetOutboundConnection,
            NetClosedConnection,
            NetEvictedInboundConnection,
            NetMisbehavingConnection,
        ],
        Pane::Blocks => &[ValidationBlockConnected],
        Pane::Mempool => &[MempoolReplaced, MempoolRejected],
        Pane::Networks => &[],
    };
    let unseen = shown.snapshot.sight.why_none(told_by);
    let rest = match (unseen, rest.rows().next()) {
        (Some(why), Some(first)) => {
            frame.render_widget(Line::styled(text::plain(why, first.width.into()), DIM), first);
            Rect { y: rest.y + 1, height: rest.height - 1, ..rest }
        }
        _ => rest,
    };
    for (row, happening) in rest.rows().zip(happenings) {
        frame.render_widget(line(happening, shown.theme, row.width), row);
    }
}

fn line(happening: &Happening, theme: Theme, width: u16) -> Line<'static> {
    let what = |words: &str, colour: Color| Span::styled(format!("{words:<8}"), theme.colour(colour));
    let mut parts = vec![vec![Span::styled(text::time_of_day(happening.time), DIM)]];
    match &happening.what {
        Happened::NodeAttached { pid } => {
            parts.push(vec![Span::styled(format!("attached to the node, pid {pid}"), BOLD)]);
        }
        Happened::NodeDetached { why } => parts.push(vec![Span::styled((*why).to_owned(), BOLD)]),
        Happened::Opened { connection } => {
            parts.push(vec![what("opened", Color::Green)]);
            parts.extend(whom(connection, width));
        }
        Happened::Closed { connection, lasted, user_agent } => {
            parts.push(vec![what("closed", Color::Magenta)]);
            parts.extend(whom(connection, width));
            parts.push(plain(&format!("after {}", text::lasted(*lasted as f64))));
            parts.push(plain(user_agent.as_deref().unwrap_or_default()));
        }
        Happened::Evicted { connection, lasted } => {
            parts.push(vec![what("evicted", Color::Yellow)]);
            parts.extend(whom(connection, width));
            parts.push(plain(&format!("after {}", text::lasted(*lasted as f64))));
        }
        Happened::Misbehaving { id, address, reason } => {
            parts.push(vec![what("misbehaves", Color::Red)]);
            parts.push(plain(&format!("{id:>6}")));
            parts.push(plain(address.as_deref().unwrap_or_default()));
            parts.push(plain(reason));
        }
        Happened::BlockConnected { height, hash, transactions, connection_seconds } => {
            parts.push(vec![Span::styled(text::exact((*height).max(0) as u64), BOLD)]);
            parts.push(plain(&text::plural(*transactions, "tx", "txs")));
            parts.push(plain(&format!("in {}", text::took(*connection_seconds))));
            // The leading zeros of a hash say nothing.
            parts.push(vec![Span::styled(hash.trim_start_matches('0').to_owned(), DIM)]);
        }
        Happened::Replaced { txid, fee, replacement, replacement_fee } => {
            parts.push(vec![what("replaced", Color::Yellow)]);
            parts.push(plain(&format!("fee {fee} by {replacement_fee} sat")));
            parts.push(vec![Span::styled(format!("{txid} by {replacement}"), DIM)]);
        }
        Happened::Rejected { txid, reason } => {
            parts.push(vec![what("rejected", Color::Red)]);
            parts.push(plain(reason));
            parts.push(vec![Span::styled(txid.clone(), DIM)]);
        }
        // The library may add more.
        _ => {}
    }
    cut_pieces(width, parts)
}

fn whom(connection: &ConnectionRow, width: u16) -> [Vec<Span<'static>>; 2] {
    let short = text::short_type(connection.connection_type);
    // Something follows it.
    let address = text::plain(
        connection.address.as_deref().unwrap_or_default(),
        usize::from(width).saturating_sub(60).clamp(21, 62),
    );
    [plain(&format!("{short:<6} {:>6}", connection.id)), plain(&format!("{address:<21}"))]
}

/// A text that somebody else chose.
fn plain(words: &str) -> Vec<Span<'static>> {
    vec![Span::styled(text::plain(words, usize::MAX), Style::new())]
}
