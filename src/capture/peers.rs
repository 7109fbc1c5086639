//! Addresses and networks of peers. The kernel side sends a peer's address only once, since sending it again would cost the node time.
//! A peer that connects through the operator's own Tor has the address 127.0.0.1; only connection events have its network.
//!
//! In: records, in order. Out: the same records, completed, at the end of a batch: a message has its peer's address and network, and
//! nothing after its payload.

use std::mem::offset_of;

use super::Batch;
use crate::{
    event::{
        net::{ConnectionType, payload_length},
        tracepoint_of,
    },
    kernel_side::{
        self,
        types::{connection_record, event_header, message_record},
    },
    network::Network,
    tracepoint::{About, Tracepoint},
};

/// What is known of the peers of a run.
#[derive(Debug)]
pub(super) struct Peers {
    /// By the peer's slot in the kernel side's table. The peer that was named most recently comes last.
    slots: Vec<Vec<Peer>>,
}

#[derive(Debug)]
struct Peer {
    id: i64,
    /// `None` before its first message.
    address: Option<Box<[u8]>>,
    network: Told,
    is_closed: bool,
}

/// A peer's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// From a connection event.
    ByConnection(Network),
    /// Derived from the address.
    ByAddress(Network),
}

impl Told {
    fn network(self) -> Network {
        match self {
            Self::ByConnection(network) | Self::ByAddress(network) => network,
        }
    }
}

/// How many slots the kernel side's table has: KNOWN_PEERS of bpf/net.h.
pub(crate) const SLOTS: usize = 4096;
/// How many peers of one slot always keep their address: when a peer takes another one's slot, records of the other may still be on
/// their way.
const KEPT: usize = 4;
/// How many peers of one slot are kept at most. There are so many only if events of closed connections were lost.
const MOST: usize = 16;

impl Default for Peers {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect() }
    }
}

impl Peers {
    /// Puts the record into the batch. Gives its tracepoint; `None` for a record of gaps.
    pub(super) fn push(&mut self, record: &[u8], batch: &mut Batch) -> Option<Tracepoint> {
        let tracepoint = tracepoint_of(record);
        match tracepoint.map(Tracepoint::about) {
            Some(About::MessageToNode | About::MessageToPeer) => {
                if let Some((fixed, rest)) = kernel_side::split::<message_record>(record) {
                    self.push_message(&fixed, record, rest, batch);
                    return tracepoint;
                }
            }
            Some(About::InboundConnection | About::OutboundConnection | About::AnyConnection) => {
                if let Some((fixed, _)) = kernel_side::split::<connection_record>(record) {
                    self.connection(tracepoint, &fixed);
                }
            }
            Some(About::Peer | About::Coin | About::NoPeer) | None => {}
        }
        batch.push(record);
        tracepoint
    }

    fn push_message(&mut self, fixed: &message_record, record: &[u8], rest: &[u8], batch: &mut Batch) {
        let payload_length = usize::try_from(payload_length(fixed)).unwrap_or(usize::MAX);
        let network;
        if fixed.is_known_peer == 0 {
            let text_length: usize = fixed.header.text_length.into();
            let Some(address) = rest.get(..text_length) else { return batch.push(record) };
            network = self.message(fixed, address);
            let length = (record.len() - rest.len()).saturating_add(text_length).saturating_add(payload_length);
            batch.push(&record[..length.min(record.len())]);
        } else {
            let peer =
                self.find(fixed.peer_id).and_then(|peer| Some((&**peer.address.as_ref()?, peer.network.network())));
            let (address, told) = peer.unwrap_or_else(|| {
                // Cannot happen: the kernel side leaves out an address only after sending it. If it does, it must be noticed.
                tracing::error!(
                    peer = fixed.peer_id,
                    "a message lacks the address of its peer, and no earlier message had it"
                );
                (&[], Network::Unknown)
            });
            network = told;
            let (head, _) = record.split_at(record.len() - rest.len());
            batch.push_parts([head, address, &rest[..payload_length.min(rest.len())]]);
            let text_length = (address.len() as u16).to_ne_bytes();
            let record = batch.last_mut();
            let at = offset_of!(message_record, header) + offset_of!(event_header, text_length);
            record[at..at + text_length.len()].copy_from_slice(&text_length);
            record[offset_of!(message_record, is_known_peer)] = 0;
        }
        // A record of a recording may already have it.
        if fixed.peer_network == 0 {
            batch.last_mut()[offset_of!(message_record, peer_network)] = network as u8 + 1;
        }
    }

    /// Notes the address of a message. Gives the peer's network.
    fn message(&mut self, fixed: &message_record, address: &[u8]) -> Network {
        let by_address = || {
            let may_be_inbound = ConnectionType::from_number(fixed.connection_type).may_be_inbound();
            Told::ByAddress(Network::from_address(&String::from_utf8_lossy(address), may_be_inbound))
        };
        let peer = self.tell(fixed.peer_id, by_address);
        if peer.address.as_deref() != Some(address) {
            peer.address = Some(address.into());
            if let Told::ByAddress(_) = peer.network {
                peer.network = by_address();
            }
        }
        peer.network.network()
    }

    fn connection(&mut self, tracepoint: Option<Tracepoint>, fixed: &connection_record) {
        if tracepoint == Some(Tracepoint::NetClosedConnection) {
            if let Some(peer) = self.find(fixed.peer_id) {
                peer.is_closed = true;
            }
            return;
        }
        let network = Told::ByConnection(Network::from_number(fixed.network));
        match self.find(fixed.peer_id) {
            Some(peer) => peer.network = network,
            None => {
                self.tell(fixed.peer_id, || network);
            }
        }
    }

    /// The peer, as the most recently named one of its slot.
    fn tell(&mut self, peer_id: i64, network: impl FnOnce() -> Told) -> &mut Peer {
        let peers = &mut self.slots[slot(peer_id)];
        match peers.iter().rposition(|peer| peer.id == peer_id) {
            // The kernel side sent it again, since another peer had taken its slot.
            Some(index) => peers[index..].rotate_left(1),
            None => {
                if let Some(index) = superfluous(peers) {
                    peers.remove(index);
                }
                peers.push(Peer { id: peer_id, address: None, network: network(), is_closed: false });
            }
        }
        peers.last_mut().expect("one was found or pushed")
    }

    fn find(&mut self, peer_id: i64) -> Option<&mut Peer> {
        self.slots[slot(peer_id)].iter_mut().find(|peer| peer.id == peer_id)
    }
}

/// Which peer of a slot makes room for another, if one must. It is none of the newest: their messages without an address may be on
/// their way. It is rather not one whose connection is open and whose network came from a connection event: no other event has it.
fn superfluous(peers: &[Peer]) -> Option<usize> {
    let newest = peers.len().checked_sub(KEPT - 1)?;
    let is_needed = |peer: &Peer| !peer.is_closed && matches!(peer.network, Told::ByConnection(_));
    let unneeded = peers[..newest].iter().position(|peer| !is_needed(peer));
    unneeded.or((peers.len() >= MOST).then_some(0))
}

fn slot(peer_id: i64) -> usize {
    peer_id.rem_euclid(SLOTS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_side::types::payload_state;
    use crate::kernel_side::write;

    /// A record as it comes out of the ring buffer.
    fn record(peer_id: i64, address: &str, state: payload_state, sizes: (u64, u32), after: &[u8]) -> Vec<u8> {
        let (size, copied) = sizes;
        let header = event_header {
            boot_ns: 5,
            tracepoint: Tracepoint::NetInboundMessage.index() as u8,
            text_length: address.len() as u16,
            ..Default::default()
        };
        let payload = state.0 as u8;
        let is_known_peer = address.is_empty().into();
        let fixed = message_record { header, peer_id, size, copied, payload, is_known_peer, ..Default::default() };
        write(fixed, &[address.as_bytes(), after].concat())
    }

    fn whole(peer_id: i64, address: &str, payload: &[u8]) -> Vec<u8> {
        record(peer_id, address, payload_state::PAYLOAD_WHOLE, (payload.len() as u64, 0), payload)
    }

    /// The records after they are completed.
    fn completed(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut peers, mut batch) = (Peers::default(), Batch::default());
        for record in records {
            peers.push(record, &mut batch);
        }
        // Other tests check networks.
        let without_network = |record: &[u8]| {
            let mut record = record.to_vec();
            record.get_mut(offset_of!(message_record, peer_network)).into_iter().for_each(|network| *network = 0);
            record
        };
        batch.records().map(without_network).collect()
    }

    #[test]
    fn an_address_that_was_told_is_put_in() {
        let told = [whole(7, "1.2.3.4:5", b"abc"), whole(8, "5.6.7.8:9", b""), whole(7, "", b"de"), whole(8, "", b"f")];
        let expected = [told[0].clone(), told[1].clone(), whole(7, "1.2.3.4:5", b"de"), whole(8, "5.6.7.8:9", b"f")];
        assert_eq!(completed(&told), expected);
    }

    #[test]
    fn bytes_that_mean_nothing_are_left_out() {
        let told = whole(7, "a", b"");
        for (how, sizes, payload) in [
            (payload_state::PAYLOAD_WHOLE, (3, 0), "abc"),
            (payload_state::PAYLOAD_BEGINNING, (3, 2), "ab"),
            (payload_state::PAYLOAD_NOT_WANTED, (3, 0), ""),
            (payload_state::PAYLOAD_UNREADABLE, (3, 3), ""),
            (payload_state::PAYLOAD_TOO_LARGE, (5_000_000, 0), ""),
        ] {
            let expected = record(7, "a", how, sizes, payload.as_bytes());
            let [_, first, later] = &completed(&[
                told.clone(),
                record(7, "a", how, sizes, b"abc-and-more"),
                record(7, "", how, sizes, b"abc-and-more"),
            ])[..] else {
                panic!("each is a record")
            };
            assert_eq!((first, later), (&expected, &expected), "{sizes:?}");
        }
    }

    #[test]
    fn peers_of_one_slot_are_told_apart() {
        let ids = [5, 5 + 4096, 5 + 2 * 4096, 5 - 4096];
        let address = |id: i64| format!("peer {id}");
        let mut records: Vec<_> = ids.iter().map(|&id| whole(id, &address(id), b"")).collect();
        records.extend(ids.iter().map(|&id| whole(id, "", b"x")));
        let expected: Vec<_> = ids.iter().map(|&id| whole(id, &address(id), b"x")).collect();
        assert_eq!(completed(&records)[ids.len()..], expected);
        // A fifth peer takes the slot of the first.
        let fifth = 5 + 3 * 4096;
        records.truncate(ids.len());
        records.extend([whole(fifth, "peer", b""), whole(ids[0], "", b""), whole(ids[1], "", b"")]);
        let last = completed(&records).split_off(ids.len() + 1);
        let none = {
            let mut record = whole(ids[0], "", b"");
            record[offset_of!(message_record, is_known_peer)] = 0;
            record
        };
        assert_eq!(last, [none, whole(ids[1], &address(ids[1]), b"")]);
    }

    #[test]
    fn a_peer_that_is_told_anew_is_the_newest_of_its_slot() {
        let ids: Vec<i64> = (0..=KEPT as i64).map(|n| 5 + n * SLOTS as i64).collect();
        let (first, others) = ids.split_first().unwrap();
        let mut records = vec![whole(*first, "first", b"")];
        records.extend(others[1..].iter().map(|&id| whole(id, "another", b"")));
        records.push(whole(*first, "first", b""));
        // Another thread of the node may send a message of the first peer after this one, before the kernel side's table has the new peer.
        records.extend([whole(others[0], "another", b""), whole(*first, "", b"x")]);
        assert_eq!(completed(&records).pop(), Some(whole(*first, "first", b"x")));
    }

    #[test]
    fn records_that_are_too_short_stay_so() {
        let whole = whole(7, "1.2.3.4:5", b"abc");
        for length in 0..whole.len() {
            assert_eq!(completed(&[whole[..length].to_vec()]), [&whole[..length]]);
        }
    }

    fn connection(tracepoint: Tracepoint, peer_id: i64, network: Network) -> Vec<u8> {
        let header = event_header { tracepoint: tracepoint.index() as u8, ..Default::default() };
        write(connection_record { header, peer_id, network: network as u32, ..Default::default() }, b"")
    }

    /// The network of each completed message.
    fn networks(records: &[Vec<u8>]) -> Vec<Network> {
        let (mut peers, mut batch) = (Peers::default(), Batch::default());
        for record in records {
            peers.push(record, &mut batch);
        }
        let messages = batch.records().filter(|record| {
            tracepoint_of(record).is_some_and(|tracepoint| tracepoint == Tracepoint::NetInboundMessage)
        });
        messages
            .map(|record| Network::from_number(u32::from(record[offset_of!(message_record, peer_network)]) - 1))
            .collect()
    }

    #[test]
    fn a_network_is_as_its_connection_tells_and_else_as_the_address_says() {
        use Tracepoint::{NetClosedConnection, NetInboundConnection, NetOutboundConnection};
        let onion = |peer_id| connection(NetInboundConnection, peer_id, Network::Onion);
        let of = |peer_id, address: &str| whole(peer_id, address, b"");
        assert_eq!(networks(&[of(1, "8.8.8.8:1"), of(1, "")]), [Network::Ipv4; 2]);
        assert_eq!(networks(&[onion(1), of(1, "127.0.0.1:1"), of(1, "")]), [Network::Onion; 2]);
        // The event of the opening may come after the first message. Peers of the same slot do not share a network.
        let records = [of(1, "127.0.0.1:1"), onion(1), of(1, ""), connection(NetClosedConnection, 1, Network::Onion)];
        assert_eq!(networks(&records), [Network::Unknown, Network::Onion]);
        let records = [onion(1), of(1 + SLOTS as i64, "8.8.8.8:1"), of(1, "127.0.0.1:1")];
        assert_eq!(networks(&records), [Network::Ipv4, Network::Onion]);
        assert_eq!(networks(&[connection(NetOutboundConnection, 1, Network::Cjdns), of(1, "x")]), [Network::Cjdns]);
        // The network that a record of a recording has already stays.
        let mut recorded = of(1, "8.8.8.8:1");
        recorded[offset_of!(message_record, peer_network)] = Network::I2p as u8 + 1;
        assert_eq!(networks(&[recorded]), [Network::I2p]);
    }

    #[test]
    fn the_network_of_an_open_peer_stays_however_many_others_come_and_go() {
        let of_slot = |n: i64| 5 + n * SLOTS as i64;
        let mut records = vec![connection(Tracepoint::NetInboundConnection, 5, Network::Onion)];
        for n in 1..100 {
            let id = of_slot(n);
            records.push(connection(Tracepoint::NetInboundConnection, id, Network::Ipv4));
            records.push(connection(Tracepoint::NetClosedConnection, id, Network::Ipv4));
        }
        records.push(whole(5, "127.0.0.1:1", b""));
        assert_eq!(networks(&records), [Network::Onion]);
        // If none of them closes, the oldest goes.
        let mut peers = Peers::default();
        for n in 0..100 {
            peers.push(&connection(Tracepoint::NetInboundConnection, of_slot(n), Network::Ipv4), &mut Batch::default());
        }
        let kept: Vec<i64> = peers.slots[5].iter().map(|peer| peer.id).collect();
        assert_eq!(kept, (100 - MOST as i64..100).map(of_slot).collect::<Vec<_>>());
    }
}
