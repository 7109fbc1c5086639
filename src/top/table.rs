//! The table of peers. In: the peers of a snapshot, in order. Out: rows of as many columns as there is room for.

use bitcointap::live::Row;
use ratatui::{
    layout::{Constraint, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Cell, Row as TableRow, Table},
};

use super::{
    text::{age, milliseconds, printable, short},
    view::{Column, View},
};

/// A column's title, its width, and the width of the screen from which on it is there.
fn shape(column: Column) -> (&'static str, u16, u16) {
    match column {
        Column::Id => ("ID", 7, 0),
        Column::Address => ("ADDRESS", 21, 0),
        Column::Type => ("TYPE", 6, 0),
        Column::Network => ("NETWORK", 7, 100),
        Column::Age => ("AGE", 6, 0),
        Column::In => ("IN/S", 5, 0),
        Column::Out => ("OUT/S", 5, 0),
        Column::Messages => ("MSGS", 5, 110),
        Column::Bytes => ("BYTES", 5, 60),
        Column::Ping => ("PING", 6, 70),
        Column::UserAgent => ("USER AGENT", 0, 78),
    }
}

fn is_number(column: Column) -> bool {
    !matches!(column, Column::Address | Column::Type | Column::Network | Column::UserAgent)
}

/// A shorter word for a type of connection, where there is no room.
fn short_type(connection_type: &str) -> &str {
    match connection_type {
        "inbound" => "in",
        "outbound-full-relay" => "full",
        "block-relay-only" => "block",
        "addr-fetch" => "addr",
        "private-broadcast" => "priv",
        other => other,
    }
}

pub fn peers(peers: &[&Row], view: &View, now: f64, area: Rect) -> Table<'static> {
    let is_wide = area.width >= 150;
    let shown: Vec<Column> = Column::ALL.into_iter().filter(|&column| area.width >= shape(column).2).collect();
    let width = |column: Column| match column {
        Column::Address if is_wide => 46,
        Column::Type if is_wide => 19,
        _ => shape(column).1,
    };
    let header = shown.iter().map(|&column| {
        let title = shape(column).0;
        let style = if column == view.sort {
            Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD)
        };
        cell(title.to_owned(), is_number(column)).style(style)
    });
    let cells = |peer: &Row| {
        let values = shown.iter().map(|&column| cell(value(peer, column, now, is_wide), is_number(column)));
        TableRow::new(values.collect::<Vec<_>>())
    };
    let widths = shown.iter().map(|&column| match column {
        Column::UserAgent => Constraint::Min(6),
        column => Constraint::Length(width(column)),
    });
    Table::new(peers.iter().map(|peer| cells(peer)), widths.collect::<Vec<_>>())
        .header(TableRow::new(header.collect::<Vec<_>>()))
        .column_spacing(1)
}

fn cell(text: String, is_number: bool) -> Cell<'static> {
    let line = Line::from(text);
    Cell::from(if is_number { line.right_aligned() } else { line })
}

fn value(peer: &Row, column: Column, now: f64, is_wide: bool) -> String {
    let (inbound, outbound) = (&peer.inbound, &peer.outbound);
    match column {
        Column::Id => peer.id.to_string(),
        Column::Address => printable(peer.address.as_deref().unwrap_or("hidden")),
        Column::Type if is_wide => peer.connection_type.to_owned(),
        Column::Type => short_type(peer.connection_type).to_owned(),
        Column::Network => peer.network.to_owned(),
        Column::Age => match peer.opened {
            Some(opened) => age(now - opened),
            // Connected before it was seen.
            None => format!(">{}", age(now - peer.seen)),
        },
        Column::In => short(inbound.messages_per_second),
        Column::Out => short(outbound.messages_per_second),
        Column::Messages => short((inbound.messages + outbound.messages) as f64),
        Column::Bytes => short((inbound.bytes + outbound.bytes) as f64),
        Column::Ping => peer.ping.map_or_else(String::new, milliseconds),
        Column::UserAgent => peer.user_agent.as_deref().map_or_else(String::new, printable),
    }
}
