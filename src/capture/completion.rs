//! What the kernel side leaves out of records and is known here, since it would cost the node time. In: records as they come out
//! of the ring, in order. Out: whole records, at the end of a batch: of a message the address of its peer, which an earlier record
//! told, and nothing after its payload.

use std::mem::offset_of;

use super::Batch;
use crate::{
    event::tracepoint_of,
    record::{
        self,
        types::{event_header, message_record, payload_state},
    },
    tracepoint::Tracepoint,
};

/// The addresses that were told.
#[derive(Debug)]
pub(super) struct Completion {
    /// By the peer's place in the kernel side's table; the newest last.
    told: Vec<Vec<(i64, Box<[u8]>)>>,
}

/// Places in the kernel side's table, KNOWN_PEERS of bpf/net.h.
pub(crate) const PLACES: usize = 4096;
/// Peers of one place whose addresses are kept: while one takes the place of another, records of that one are on their way.
const KEPT: usize = 4;

impl Default for Completion {
    fn default() -> Self {
        Self { told: vec![Vec::new(); PLACES] }
    }
}

impl Completion {
    pub(super) fn push(&mut self, record: &[u8], batch: &mut Batch) {
        let is_message =
            matches!(tracepoint_of(record), Some(Tracepoint::NetInboundMessage | Tracepoint::NetOutboundMessage));
        match record::split::<message_record>(record) {
            Some((fixed, rest)) if is_message => self.push_message(&fixed, record, rest, batch),
            _ => batch.push(record),
        }
    }

    fn push_message(&mut self, fixed: &message_record, record: &[u8], rest: &[u8], batch: &mut Batch) {
        let text_length: usize = fixed.header.text_length.into();
        let payload_length = match payload_state(fixed.payload.into()) {
            payload_state::PAYLOAD_WHOLE => fixed.size,
            payload_state::PAYLOAD_BEGINNING => fixed.copied.into(),
            _ => 0,
        };
        let payload_length = usize::try_from(payload_length).unwrap_or(usize::MAX);
        if fixed.is_known_peer == 0 {
            if let Some(address) = rest.get(..text_length) {
                self.told(fixed.peer_id, address);
            }
            let length = (record.len() - rest.len()).saturating_add(text_length).saturating_add(payload_length);
            return batch.push(&record[..length.min(record.len())]);
        }
        let address = self.address(fixed.peer_id).unwrap_or_else(|| {
            // Cannot happen: the kernel side leaves out only what it has told. If it does, it must be seen.
            tracing::error!(peer = fixed.peer_id, "a message came of a peer whose address was not told");
            &[]
        });
        let (head, _) = record.split_at(record.len() - rest.len());
        batch.push_parts([head, address, &rest[..payload_length.min(rest.len())]]);
        let text_length = (address.len() as u16).to_ne_bytes();
        let record = batch.last_mut();
        let at = offset_of!(message_record, header) + offset_of!(event_header, text_length);
        record[at..at + text_length.len()].copy_from_slice(&text_length);
        record[offset_of!(message_record, is_known_peer)] = 0;
    }

    fn told(&mut self, peer_id: i64, address: &[u8]) {
        let peers = &mut self.told[place(peer_id)];
        match peers.iter().rposition(|(id, _)| *id == peer_id) {
            // Told anew, since another peer had taken its place: now it is the newest.
            Some(index) => peers[index..].rotate_left(1),
            None => {
                if peers.len() >= KEPT {
                    peers.remove(0);
                }
                peers.push((peer_id, Box::default()));
            }
        }
        if let Some((_, known)) = peers.last_mut()
            && **known != *address
        {
            *known = address.into();
        }
    }

    fn address(&self, peer_id: i64) -> Option<&[u8]> {
        self.told[place(peer_id)].iter().find(|(id, _)| *id == peer_id).map(|(_, address)| &**address)
    }
}

fn place(peer_id: i64) -> usize {
    peer_id.rem_euclid(PLACES as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::write;

    /// As it comes out of the ring.
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

    /// What becomes of records.
    fn completed(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut completion, mut batch) = (Completion::default(), Batch::default());
        records.iter().for_each(|record| completion.push(record, &mut batch));
        batch.records().map(<[u8]>::to_vec).collect()
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
    fn peers_of_one_place_are_told_apart() {
        let ids = [5, 5 + 4096, 5 + 2 * 4096, 5 - 4096];
        let address = |id: i64| format!("peer {id}");
        let mut records: Vec<_> = ids.iter().map(|&id| whole(id, &address(id), b"")).collect();
        records.extend(ids.iter().map(|&id| whole(id, "", b"x")));
        let expected: Vec<_> = ids.iter().map(|&id| whole(id, &address(id), b"x")).collect();
        assert_eq!(completed(&records)[ids.len()..], expected);
        // A fifth takes the place of the first.
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
    fn a_peer_that_is_told_anew_is_the_newest_of_its_place() {
        let ids: Vec<i64> = (0..=KEPT as i64).map(|n| 5 + n * PLACES as i64).collect();
        let (first, others) = ids.split_first().unwrap();
        let mut records = vec![whole(*first, "first", b"")];
        records.extend(others[1..].iter().map(|&id| whole(id, "another", b"")));
        records.push(whole(*first, "first", b""));
        // What another thread sends of the first is reserved after this, and before the table has it.
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
}
