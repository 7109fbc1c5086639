//! The table of peers. In: rows, the column to sort by, the filter. Out: which rows in which order, and the texts of a
//! row's cells.

use std::cmp::Ordering;

use bitcointap::live::Row;
use clap::ValueEnum;

use super::text;

/// An attribute of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    Id,
    Address,
    Type,
    Network,
    Age,
    In,
    Out,
    Messages,
    Rate,
    Bytes,
    Ping,
    UserAgent,
}

impl Column {
    /// In their order on the screen.
    pub const ALL: [Column; 12] = [
        Column::Id,
        Column::Address,
        Column::Type,
        Column::Network,
        Column::Age,
        Column::In,
        Column::Out,
        Column::Messages,
        Column::Rate,
        Column::Bytes,
        Column::Ping,
        Column::UserAgent,
    ];

    /// The columns that come first where not all fit.
    const BY_IMPORTANCE: [Column; 12] = [
        Column::Id,
        Column::Address,
        Column::In,
        Column::Out,
        Column::Type,
        Column::Age,
        Column::Ping,
        Column::UserAgent,
        Column::Rate,
        Column::Network,
        Column::Messages,
        Column::Bytes,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Column::Id => "id",
            Column::Address => "address",
            Column::Type => "type",
            Column::Network => "network",
            Column::Age => "age",
            Column::In => "in/s",
            Column::Out => "out/s",
            Column::Messages => "messages",
            Column::Rate => "B/s",
            Column::Bytes => "bytes",
            Column::Ping => "ping",
            Column::UserAgent => "user agent",
        }
    }

    /// What the help says of the column.
    pub fn meaning(self) -> &'static str {
        match self {
            Column::Id => "the node's number of the peer",
            Column::Address => "address and port",
            Column::Type => "connection type, as bitcoin-cli -netinfo has it",
            Column::Network => "network of the peer's address",
            Column::Age => "of the connection; ≥ if older than the attachment",
            Column::In => "messages from the peer, mean of 10 s",
            Column::Out => "messages to the peer, mean of 10 s",
            Column::Messages => "messages both ways, in total",
            Column::Rate => "bytes both ways, mean of 10 s",
            Column::Bytes => "bytes both ways, in total",
            Column::Ping => "round trip of the node's last ping",
            Column::UserAgent => "as the peer says",
        }
    }

    /// The least width on the screen.
    fn width(self) -> u16 {
        match self {
            Column::Address => 21,
            Column::UserAgent => 12,
            Column::Messages => 9,
            Column::Network => 8,
            Column::Type | Column::Age | Column::Bytes => 7,
            Column::Id | Column::In | Column::Out | Column::Ping | Column::Rate => 6,
        }
    }

    /// Whether the column has text, which is sorted upwards and aligned left.
    pub fn is_text(self) -> bool {
        match self {
            Column::Address | Column::Type | Column::Network | Column::UserAgent => true,
            Column::Id
            | Column::Age
            | Column::In
            | Column::Out
            | Column::Messages
            | Column::Rate
            | Column::Bytes
            | Column::Ping => false,
        }
    }

    /// The column to the right or to the left.
    pub fn beside(self, right: bool) -> Self {
        let step = if right { 1 } else { Self::ALL.len() - 1 };
        Self::ALL[(self as usize + step) % Self::ALL.len()]
    }

    fn cell(self, peer: &Row, now: f64, width: usize) -> String {
        match self {
            Column::Id => peer.id.to_string(),
            Column::Address => text::plain(peer.address.as_deref().unwrap_or_default(), width),
            Column::Type if peer.connection_type.len() <= width => peer.connection_type.to_owned(),
            Column::Type => text::short_type(peer.connection_type).into_owned(),
            Column::Network => peer.network.to_owned(),
            Column::Age => {
                let seen_only = if peer.opened.is_none() { "≥" } else { "" };
                format!("{seen_only}{}", text::lasted(age(peer, now)))
            }
            Column::In => text::rate(peer.inbound.messages_per_second),
            Column::Out => text::rate(peer.outbound.messages_per_second),
            Column::Messages => text::count(messages(peer)),
            Column::Rate => text::rate(bytes_per_second(peer)),
            Column::Bytes => text::count(bytes(peer)),
            Column::Ping => peer.ping.map(text::took).unwrap_or_default(),
            Column::UserAgent => text::plain(peer.user_agent.as_deref().unwrap_or_default(), width),
        }
    }

    /// Compares in natural order: large numbers first, texts by the alphabet. What is not known is last in any order.
    fn compare(self, one: &Row, other: &Row, reversed: bool) -> Ordering {
        let turned = |ordering: Ordering| if reversed { ordering.reverse() } else { ordering };
        let larger_first = |one: f64, other: f64| turned(other.total_cmp(&one));
        match self {
            Column::Id => turned(other.id.cmp(&one.id)),
            Column::Address => known_first(one.address.as_deref(), other.address.as_deref(), |a, b| turned(a.cmp(b))),
            Column::Type => turned(one.connection_type.cmp(other.connection_type)),
            Column::Network => turned(one.network.cmp(other.network)),
            // Older connections came earlier.
            Column::Age => larger_first(-since(one), -since(other)),
            Column::In => larger_first(one.inbound.messages_per_second, other.inbound.messages_per_second),
            Column::Out => larger_first(one.outbound.messages_per_second, other.outbound.messages_per_second),
            Column::Messages => turned(messages(other).cmp(&messages(one))),
            Column::Rate => larger_first(bytes_per_second(one), bytes_per_second(other)),
            Column::Bytes => turned(bytes(other).cmp(&bytes(one))),
            Column::Ping => known_first(one.ping, other.ping, |one, other| larger_first(*one, *other)),
            Column::UserAgent => {
                known_first(one.user_agent.as_deref(), other.user_agent.as_deref(), |a, b| turned(a.cmp(b)))
            }
        }
    }
}

fn known_first<T>(one: Option<T>, other: Option<T>, compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    match (&one, &other) {
        (Some(one), Some(other)) => compare(one, other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn since(peer: &Row) -> f64 {
    peer.opened.unwrap_or(peer.seen)
}

fn age(peer: &Row, now: f64) -> f64 {
    now - since(peer)
}

fn messages(peer: &Row) -> u64 {
    peer.inbound.messages.saturating_add(peer.outbound.messages)
}

fn bytes(peer: &Row) -> u64 {
    peer.inbound.bytes.saturating_add(peer.outbound.bytes)
}

fn bytes_per_second(peer: &Row) -> f64 {
    peer.inbound.bytes_per_second + peer.outbound.bytes_per_second
}

/// The peers with `filter` in one of their cells, in order. Equal ones are sorted by number.
pub fn listed<'a>(peers: &'a [Row], filter: &str, sort: Column, reversed: bool) -> Vec<&'a Row> {
    let filter = filter.to_lowercase();
    let mut listed: Vec<&Row> = peers.iter().filter(|peer| has(peer, &filter)).collect();
    listed.sort_by(|one, other| sort.compare(one, other, reversed).then(one.id.cmp(&other.id)));
    listed
}

fn has(peer: &Row, filter: &str) -> bool {
    let texts = [
        Some(&*peer.id.to_string()),
        peer.address.as_deref(),
        Some(peer.connection_type),
        Some(peer.network),
        peer.user_agent.as_deref(),
    ]
    .into_iter()
    .flatten()
    .any(|text| text.to_lowercase().contains(filter));
    filter.is_empty() || texts
}

/// Which columns fit, and how wide each is. The column to sort by is among them.
#[derive(Debug, PartialEq)]
pub struct Columns(pub Vec<(Column, u16)>);

impl Columns {
    pub fn of(width: u16, sort: Column) -> Self {
        let mut chosen = Vec::new();
        let mut left = width;
        for column in [sort].into_iter().chain(Column::BY_IMPORTANCE) {
            let takes = column.width() + u16::from(!chosen.is_empty());
            if !chosen.contains(&column) && (takes <= left || chosen.is_empty()) {
                chosen.push(column);
                left = left.saturating_sub(takes);
            }
        }
        let mut columns: Vec<_> =
            Column::ALL.into_iter().filter(|it| chosen.contains(it)).map(|it| (it, it.width())).collect();
        // Texts get what is left, up to their longest.
        for (growing, most) in
            [(Column::Type, 19), (Column::UserAgent, 24), (Column::Address, 47), (Column::UserAgent, 256)]
        {
            if let Some((_, width)) = columns.iter_mut().find(|(column, _)| *column == growing) {
                let more = match growing {
                    // The type grows to its full width or not at all: otherwise it is in its short form.
                    Column::Type if left < most - *width => 0,
                    _ => left.min(most - *width),
                };
                *width += more;
                left -= more;
            }
        }
        Self(columns)
    }

    /// The cells of a peer.
    pub fn cells(&self, peer: &Row, now: f64) -> impl Iterator<Item = String> {
        self.0.iter().map(move |&(column, width)| column.cell(peer, now, width.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::testing::busy;

    fn ids(peers: &[&Row]) -> Vec<i64> {
        peers.iter().map(|peer| peer.id).collect()
    }

    #[test]
    fn each_column_sorts_and_the_reverse_keeps_what_is_not_known_last() {
        let snapshot = busy();
        let sorted = |sort, reversed| ids(&listed(&snapshot.peers, "", sort, reversed));
        for (column, natural, reversed) in [
            (Column::Id, [3, 2, 1, 0], [0, 1, 2, 3]),
            (Column::Address, [1, 2, 3, 0], [0, 3, 2, 1]),
            (Column::Type, [2, 0, 1, 3], [1, 3, 0, 2]),
            (Column::Network, [1, 2, 3, 0], [0, 2, 3, 1]),
            (Column::Age, [0, 1, 2, 3], [3, 2, 1, 0]),
            (Column::In, [1, 0, 2, 3], [2, 3, 0, 1]),
            (Column::Out, [0, 2, 1, 3], [1, 3, 2, 0]),
            (Column::Messages, [1, 0, 2, 3], [3, 2, 0, 1]),
            (Column::Rate, [1, 2, 0, 3], [3, 0, 2, 1]),
            (Column::Bytes, [1, 2, 0, 3], [3, 0, 2, 1]),
            (Column::Ping, [0, 1, 2, 3], [0, 1, 2, 3]),
            (Column::UserAgent, [1, 0, 2, 3], [0, 1, 2, 3]),
        ] {
            assert_eq!(sorted(column, false), natural, "{column:?}");
            assert_eq!(sorted(column, true), reversed, "{column:?} reversed");
        }
    }

    #[test]
    fn the_filter_looks_at_texts_whatever_their_case() {
        let snapshot = busy();
        let filtered = |filter| ids(&listed(&snapshot.peers, filter, Column::Id, true));
        assert_eq!(filtered(""), [0, 1, 2, 3]);
        assert_eq!(filtered("SATOSHI"), [0]);
        assert_eq!(filtered("block-relay"), [2]);
        assert_eq!(filtered("onion"), [0]);
        assert_eq!(filtered("192.0.2.1"), [1]);
        assert_eq!(filtered("nobody"), [0; 0]);
    }

    #[test]
    fn columns_are_those_that_there_is_room_for_and_the_one_to_sort_by() {
        let titles = |width, sort| {
            let Columns(columns) = Columns::of(width, sort);
            let taken = columns.iter().map(|(_, width)| width).sum::<u16>() + columns.len() as u16 - 1;
            assert!(taken <= width.max(sort.width()), "{columns:?}");
            columns.iter().map(|(column, _)| column.title()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(titles(40, Column::In), "id address in/s");
        assert_eq!(titles(40, Column::Bytes), "id address bytes");
        assert_eq!(titles(80, Column::In), "id address type age in/s out/s ping user agent");
        assert_eq!(titles(1, Column::In), "in/s");
        let all = Column::ALL.map(Column::title).join(" ");
        assert_eq!(titles(140, Column::In), all);
        let width =
            |width, wanted| Columns::of(width, Column::In).0.iter().find(|(it, _)| *it == wanted).map(|it| it.1);
        assert_eq!(width(140, Column::Type), Some(19));
        assert_eq!(width(300, Column::Address), Some(47));
    }

    #[test]
    fn to_the_right_of_the_last_is_the_first() {
        assert_eq!(Column::Id.beside(true), Column::Address);
        assert_eq!(Column::UserAgent.beside(true), Column::Id);
        assert_eq!(Column::Id.beside(false), Column::UserAgent);
        assert_eq!(Column::ALL.map(|it| it as usize), std::array::from_fn(|place| place));
    }
}
