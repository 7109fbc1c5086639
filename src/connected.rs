//! Which peers are connected, by rules that metrics and the live state share. In: which peers messages and connection
//! events of one run of the node name, each at a moment. Out: what is kept of a peer while it is connected; and what
//! falls out, to be counted.
//!
//! A message may come before the opening of its connection or after its closing, and either may be lost. So the node's
//! number identifies a peer; the node never uses one twice in a run.

use std::{collections::BTreeMap, mem, time::Duration};

use crate::{
    event::Moment,
    table::Table,
    tracepoint::{Tracepoint, Tracepoints},
};

/// How many peers to keep; the node's own default is 125. When one more comes, the one with the lowest number falls
/// out. Its closing was likely lost; if not, its next message brings it back.
pub(crate) const MOST: usize = 4096;

/// How many closed peers to keep.
pub(crate) const MOST_CLOSED: usize = 4096;

/// How long to remember a closed peer, so that its last messages do not bring it back.
pub(crate) const CLOSED_FOR: Duration = Duration::from_secs(60);

/// A peer that is silent for this long is gone, and its closing was lost: Bitcoin Core pings every 2 minutes and closes
/// a connection that is silent for 20.
const SILENT_FOR: Duration = Duration::from_secs(30 * 60);

/// How often to look for silent peers.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A `T` for each connected peer, and a `C` for each peer with a connection that closed a moment ago. No peer has both.
#[derive(Debug)]
pub(crate) struct Connected<T, C> {
    /// With the moment of the last event of the peer.
    open: BTreeMap<i64, (Moment, T)>,
    closed: Table<i64, C>,
    /// Whether messages of both directions come, so that silence means something.
    hears_messages: bool,
    looked_for_silent: Option<Moment>,
}

/// What is known of a peer.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a, T, C> {
    Open(&'a mut T),
    /// Its connection closed a moment ago. Further events of it do not bring it back.
    Closed(&'a C),
    /// Nothing: it was connected before the attachment, or its opening is yet to come, or was lost.
    New,
}

impl<T, C> Default for Connected<T, C> {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            closed: Table::new(MOST_CLOSED, CLOSED_FOR),
            hears_messages: false,
            looked_for_silent: None,
        }
    }
}

impl<T, C> Connected<T, C> {
    pub(crate) fn attach(&mut self, attached: Tracepoints) {
        // With a selection of messages, not every message of a peer is seen.
        let messages = [Tracepoint::NetInboundMessage, Tracepoint::NetOutboundMessage];
        self.hears_messages = messages.into_iter().all(|it| attached.contains(it));
    }

    /// A message or a connection event names a peer.
    pub(crate) fn heard_of(&mut self, now: Moment, peer_id: i64) -> Found<'_, T, C> {
        if let Some((last_heard, peer)) = self.open.get_mut(&peer_id) {
            *last_heard = now;
            return Found::Open(peer);
        }
        while self.closed.pop_old(now).is_some() {}
        self.closed.get(&peer_id).map_or(Found::New, Found::Closed)
    }

    /// Enters a peer that is [`Found::New`]. Returns what had to go for it, which may be the peer itself.
    pub(crate) fn enter(&mut self, now: Moment, peer_id: i64, peer: T) -> Option<T> {
        self.open.insert(peer_id, (now, peer));
        let falls_out = if self.open.len() > MOST { self.open.pop_first() } else { None };
        falls_out.map(|(_, (_, peer))| peer)
    }

    /// A closing. The callback says what to remember of the peer. Returns the peer, if it was connected, and the closed
    /// peer that had to go.
    pub(crate) fn close(
        &mut self,
        now: Moment,
        peer_id: i64,
        remembered: impl FnOnce(Option<&T>) -> C,
    ) -> (Option<T>, Option<C>) {
        while self.closed.pop_old(now).is_some() {}
        let peer = self.open.remove(&peer_id).map(|(_, peer)| peer);
        let forgotten = self.closed.insert(now, peer_id, remembered(peer.as_ref()));
        (peer, forgotten.map(|(_, closed)| closed))
    }

    /// Removes peers that were silent for too long; looks for them now and then.
    pub(crate) fn drop_silent(&mut self, now: Moment, mut goes: impl FnMut(&T)) {
        if !self.hears_messages || self.looked_for_silent.is_some_and(|looked| now.since(looked) < LOOK_EVERY) {
            return;
        }
        self.looked_for_silent = Some(now);
        self.open.retain(|_, (last_heard, peer)| {
            let stays = now.since(*last_heard) < SILENT_FOR;
            if !stays {
                goes(peer);
            }
            stays
        });
    }

    /// The node has ended, and its numbers with it. Returns the connected peers.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T, C> {
        self.closed.clear();
        self.looked_for_silent = None;
        mem::take(&mut self.open).into_values().map(|(_, peer)| peer)
    }

    /// A connected peer, without an event of it.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn get_mut(&mut self, peer_id: i64) -> Option<&mut T> {
        self.open.get_mut(&peer_id).map(|(_, peer)| peer)
    }

    /// The connected peers, by number.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        self.open.iter().map(|(&peer_id, (_, peer))| (peer_id, peer))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.open.values_mut().map(|(_, peer)| peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::moment;

    /// Peers with a letter, and closed ones with the letter that they had.
    fn connected(peers: &[(i64, char)]) -> Connected<char, Option<char>> {
        let mut connected = Connected::default();
        for &(peer_id, peer) in peers {
            assert_eq!(connected.enter(moment(0), peer_id, peer), None);
        }
        connected
    }

    fn close(connected: &mut Connected<char, Option<char>>, second: u64, peer_id: i64) -> Option<char> {
        connected.close(moment(second), peer_id, |peer| peer.copied()).0
    }

    fn all(connected: &Connected<char, Option<char>>) -> Vec<(i64, char)> {
        connected.iter().map(|(peer_id, &peer)| (peer_id, peer)).collect()
    }

    #[test]
    fn a_peer_is_connected_from_its_entry_to_its_closing() {
        let mut connected = connected(&[(7, 'b'), (5, 'a')]);
        assert_eq!(all(&connected), [(5, 'a'), (7, 'b')]);
        assert_eq!(connected.heard_of(moment(1), 6), Found::New);
        assert_eq!(connected.heard_of(moment(1), 5), Found::Open(&mut 'a'));
        assert_eq!(close(&mut connected, 2, 5), Some('a'));
        assert_eq!(close(&mut connected, 2, 6), None);
        assert_eq!(all(&connected), [(7, 'b')]);
        assert_eq!(connected.get_mut(5), None);
        assert_eq!(connected.get_mut(7), Some(&mut 'b'));
    }

    #[test]
    fn a_closed_peer_is_remembered_for_a_minute() {
        let mut connected = connected(&[(5, 'a')]);
        close(&mut connected, 100, 5);
        close(&mut connected, 100, 6);
        assert_eq!(connected.heard_of(moment(159), 5), Found::Closed(&Some('a')));
        assert_eq!(connected.heard_of(moment(159), 6), Found::Closed(&None));
        assert_eq!(connected.heard_of(moment(160), 5), Found::New);
    }

    #[test]
    fn the_one_with_the_lowest_number_falls_out_for_want_of_room() {
        let mut connected = connected(&[]);
        for peer_id in 1..=MOST as i64 {
            assert_eq!(connected.enter(moment(0), peer_id, 'a'), None);
        }
        assert_eq!(connected.enter(moment(0), 10_000, 'b'), Some('a'));
        assert_eq!(connected.heard_of(moment(0), 1), Found::New);
        assert_eq!(connected.enter(moment(0), 0, 'c'), Some('c'));
        assert_eq!(connected.iter().count(), MOST);
    }

    #[test]
    fn the_closed_ones_are_bounded_and_the_oldest_goes() {
        let mut connected = connected(&[]);
        connected.enter(moment(0), 1, 'a');
        let forgotten = |connected: &mut Connected<char, Option<char>>, peer_id| {
            connected.close(moment(1), peer_id, |peer| peer.copied()).1
        };
        for peer_id in 1..=MOST_CLOSED as i64 {
            assert_eq!(forgotten(&mut connected, peer_id), None);
        }
        assert_eq!(forgotten(&mut connected, 10_000), Some(Some('a')));
        assert_eq!(connected.heard_of(moment(1), 1), Found::New);
        assert_eq!(connected.closed.len(), MOST_CLOSED);
        close(&mut connected, 1 + CLOSED_FOR.as_secs(), 20_000);
        assert_eq!(connected.closed.len(), 1);
    }

    #[test]
    fn silence_for_half_an_hour_is_a_lost_closing_where_messages_of_both_directions_are_heard() {
        for (words, silent) in [("net", vec!['a']), ("net:inbound_message,net:closed_connection", vec![])] {
            let mut connected = connected(&[(5, 'a'), (6, 'b')]);
            connected.attach(words.parse().unwrap());
            assert_eq!(connected.heard_of(moment(100), 6), Found::Open(&mut 'b'));
            let mut gone = Vec::new();
            // They are looked for once a minute.
            for second in [0, 1_799, 1_800, 1_858] {
                connected.drop_silent(moment(second), |&peer| gone.push(peer));
                assert!(gone.is_empty(), "{words} {second}");
            }
            connected.drop_silent(moment(1_859), |&peer| gone.push(peer));
            assert_eq!(gone, silent, "{words}");
            assert_eq!(all(&connected).len(), 2 - silent.len(), "{words}");
        }
    }

    #[test]
    fn the_nodes_end_is_the_end_of_its_numbers() {
        let mut connected = connected(&[(5, 'a'), (6, 'b')]);
        close(&mut connected, 1, 6);
        assert_eq!(connected.clear().collect::<Vec<_>>(), ['a']);
        assert_eq!(connected.heard_of(moment(1), 5), Found::New);
        assert_eq!(connected.heard_of(moment(1), 6), Found::New);
    }
}
