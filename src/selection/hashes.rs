//! Transactions and blocks that are followed by their hashes. In: hashes that were given, and what events name. Out: whether an event
//! names one of them, also by another hash of the same transaction that an earlier event has told.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use super::Choice;
use crate::{
    event::{
        Decoder, Event,
        names::{Name, Named, is_command_with_names},
        net::Traits,
    },
    json::Hash,
    tracepoint::Tracepoint,
};

/// How many other hashes of each given one are kept, the newest. A transaction with another witness has another wtxid, and peers can
/// send any number of these.
const MOST_OTHERS: usize = 16;

/// Transactions and blocks that were given by their hashes, and other hashes of the same transactions, as far as events have told them.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    given: BTreeSet<Hash>,
    /// Those that were given, and the others.
    known: BTreeSet<Hash>,
    /// By the given hash, the newest last.
    others: BTreeMap<Hash, VecDeque<Hash>>,
}

impl Followed {
    /// Follows these.
    pub fn new(given: impl IntoIterator<Item = Hash>) -> Self {
        let given: BTreeSet<Hash> = given.into_iter().collect();
        Self { known: given.clone(), given, others: BTreeMap::new() }
    }

    /// Whether this is the name of one of them. A whole transaction tells its other hash, by which it is found from then on.
    pub fn is(&mut self, name: &Name<'_>) -> bool {
        match name.named {
            Named::Hash(hash) => self.known.contains(&hash),
            Named::ShortIds(ids) => ids.contain_any(&self.known),
            Named::Transaction { txid, wtxid } => {
                for (given, other) in [(txid, wtxid), (wtxid, txid)] {
                    if self.given.contains(&given) {
                        self.learn(given, other);
                    }
                }
                self.known.contains(&txid) || self.known.contains(&wtxid)
            }
        }
    }

    /// Whether an event names one of them.
    pub fn are_named_by(&mut self, event: &Event<'_>) -> bool {
        let mut are_named = false;
        event.names(|name| are_named |= self.is(&name));
        are_named
    }

    /// All hashes by which they are known.
    pub fn known(&self) -> impl Iterator<Item = Hash> {
        self.known.iter().copied()
    }

    fn learn(&mut self, given: Hash, other: Hash) {
        if !self.known.insert(other) {
            return;
        }
        let others = self.others.entry(given).or_default();
        others.push_back(other);
        if others.len() > MOST_OTHERS {
            self.known.remove(&others.pop_front().expect("there are some"));
        }
    }
}

/// The conditions on hashes, with what was learnt while they were asked.
#[derive(Debug)]
pub(super) struct Hashes(Mutex<Choices>);

#[derive(Debug)]
struct Choices {
    only: Option<Followed>,
    not: Followed,
}

impl Hashes {
    /// `None` if there is no condition.
    pub(super) fn of(hashes: &Choice<Hash>) -> Option<Self> {
        let only = hashes.only.clone().map(Followed::new);
        let not = Followed::new(hashes.not.iter().copied());
        (!hashes.is_empty()).then(|| Self(Mutex::new(Choices { only, not })))
    }

    /// Whether a record meets them. Decodes the payload of a message if its command may name something.
    pub(super) fn admit(&self, tracepoint: Tracepoint, record: &[u8]) -> bool {
        let Choices { only, not } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let command = Traits::of(tracepoint, record).and_then(|traits| traits.command);
        let (mut is_only, mut is_not) = (false, false);
        let may_name = !tracepoint.is_of_messages() || command.is_some_and(is_command_with_names);
        // A record that cannot be read is not left out in silence: decoding it reports the problem.
        let is_readable = !may_name
            || Decoder::default().decode(record, true, |event| {
                is_only = only.as_mut().is_some_and(|only| only.are_named_by(&event));
                is_not = not.are_named_by(&event);
            });
        !is_readable || (only.is_none() || is_only) && !is_not
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;

    use super::*;
    use crate::{
        event::{Kind, Moment, Time, names::Role, net},
        kernel_side::{
            types::{event_header, message_record, payload_state, replaced_record},
            write,
        },
        p2p::{
            self,
            tests::samples::{self, header},
        },
    };

    fn hash(first: u8) -> Hash {
        Hash([first; 32])
    }

    fn ids(transaction: &bitcoin::Transaction) -> (Hash, Hash) {
        use bitcoin::hashes::Hash as _;
        (Hash(transaction.compute_txid().to_byte_array()), Hash(transaction.compute_wtxid().to_byte_array()))
    }

    /// Whether a message names one of them.
    fn named(followed: &mut Followed, command: &str, payload: &[u8]) -> bool {
        let meta = net::Meta::new(7, "a", net::ConnectionType::Inbound, command, true, payload.len() as u64);
        let msg = p2p::decode(command, payload);
        assert!(!matches!(msg, p2p::Message::Undecodable { .. }), "{command}");
        let kind = Kind::Msg(net::Message { meta, msg, payload: Some(payload) });
        followed.are_named_by(&Event { time: Time(0), moment: Moment(0), kind })
    }

    fn inv(hash: Hash) -> Vec<u8> {
        [&[1, 5, 0, 0, 0][..], &hash.0].concat()
    }

    /// A compact block with one short id, and one transaction that it contains.
    fn compact_block(nonce: u64, wtxid: Hash, prefilled: &[u8]) -> Vec<u8> {
        use bitcoin::{Wtxid, bip152::ShortId, hashes::Hash as _};
        let keys = ShortId::calculate_siphash_keys(&header(1), nonce);
        let id = ShortId::with_siphash_keys(&Wtxid::from_byte_array(wtxid.0), keys);
        let head = [&serialize(&header(1))[..], &nonce.to_le_bytes(), &[2], &[9; 6], id.as_bytes()].concat();
        [&head[..], &[1, 0], prefilled].concat()
    }

    #[test]
    fn a_transaction_is_found_by_its_other_hash_once_it_was_seen() {
        let transaction = samples::transaction(1, true);
        let (txid, wtxid) = ids(&transaction);
        assert_ne!(txid, wtxid);
        let bytes = serialize(&transaction);
        let another = serialize(&samples::transaction(2, true));
        for (given, other) in [(txid, wtxid), (wtxid, txid)] {
            let mut followed = Followed::new([given, hash(9)]);
            assert!(named(&mut followed, "inv", &inv(given)) && !named(&mut followed, "inv", &inv(other)));
            let by_short_id = compact_block(7, wtxid, &another);
            // A short id is made of the wtxid.
            assert_eq!(named(&mut followed, "cmpctblock", &by_short_id), given == wtxid);
            assert!(!named(&mut followed, "tx", &another));
            assert!(named(&mut followed, "tx", &bytes));
            assert!(named(&mut followed, "inv", &inv(other)));
            assert!(named(&mut followed, "cmpctblock", &by_short_id));
            assert!(!named(&mut followed, "cmpctblock", &compact_block(7, hash(3), &another)));
            assert_eq!(followed.known().count(), 3);
        }
    }

    #[test]
    fn short_ids_are_those_of_the_block_and_its_nonce() {
        let mut followed = Followed::new([hash(3)]);
        let bytes = serialize(&samples::transaction(2, true));
        let mut payload = compact_block(7, hash(3), &bytes);
        assert!(named(&mut followed, "cmpctblock", &payload));
        payload[80] = 8;
        assert!(!named(&mut followed, "cmpctblock", &payload), "another nonce makes another short id");
        // Many hashes are compared in another way.
        let many = (0..50).map(|n| Hash([n; 32]));
        assert!(named(&mut Followed::new(many.clone()), "cmpctblock", &compact_block(7, hash(3), &bytes)));
        assert!(!named(&mut Followed::new(many.skip(4)), "cmpctblock", &compact_block(7, hash(3), &bytes)));
    }

    #[test]
    fn however_many_witnesses_peers_make_up_few_hashes_are_kept() {
        let of = |witness: u32| {
            let mut transaction = samples::transaction(1, true);
            transaction.input[0].witness = bitcoin::Witness::from_slice(&[witness.to_le_bytes()]);
            transaction
        };
        let (txid, _) = ids(&of(0));
        let mut followed = Followed::new([txid]);
        for witness in 0..1000 {
            assert!(named(&mut followed, "tx", &serialize(&of(witness))));
        }
        assert_eq!(followed.known().count(), 1 + MOST_OTHERS);
        for (witness, is_kept) in [(999, true), (1000 - MOST_OTHERS as u32, true), (0, false)] {
            assert_eq!(named(&mut followed, "inv", &inv(ids(&of(witness)).1)), is_kept, "{witness}");
        }
    }

    /// A record of a message, as it is after the intake.
    fn message(command: &str, state: payload_state, size: u64, payload: &[u8]) -> Vec<u8> {
        let mut name = [0; 16];
        name[..command.len()].copy_from_slice(command.as_bytes());
        let header = event_header { tracepoint: Tracepoint::NetInboundMessage as u8, ..Default::default() };
        let (state, copied) = (state.0 as u8, payload.len() as u32);
        let fixed = message_record { header, size, command: name, payload: state, copied, ..Default::default() };
        write(fixed, payload)
    }

    #[test]
    fn a_record_is_asked_by_what_it_names() {
        let block = Hash(*header(1).block_hash().as_ref());
        let inv = inv(hash(7));
        let beginning = serialize(&header(1));
        let replaced = replaced_record {
            header: event_header { tracepoint: Tracepoint::MempoolReplaced as u8, ..Default::default() },
            replaced_txid: [8; 32],
            replacement_txid: [9; 32],
            ..Default::default()
        };
        let whole = payload_state::PAYLOAD_WHOLE;
        let messages = Tracepoint::NetInboundMessage;
        let records = [
            ('i', messages, message("inv", whole, inv.len() as u64, &inv)),
            // Its payload could name anything, if its command did.
            ('x', messages, message("xyz", whole, inv.len() as u64, &inv)),
            ('n', messages, message("inv", payload_state::PAYLOAD_NOT_WANTED, inv.len() as u64, &[])),
            ('b', messages, message("block", payload_state::PAYLOAD_BEGINNING, 1000, &beginning)),
            ('u', messages, message("inv", whole, 3, &[1, 0, 0])),
            ('r', Tracepoint::MempoolReplaced, write(replaced, b"")),
            // It cannot be read, and must be noticed.
            ('?', messages, message("inv", whole, 9, &[])),
        ];
        for (words, expected) in [
            (vec![("hash", hash(7))], "i?"),
            (vec![("hash", hash(7)), ("hash", block)], "ib?"),
            (vec![("hash", hash(8))], "r?"),
            (vec![("hash", hash(9))], "r?"),
            (vec![("not-hash", hash(9))], "ixnbu?"),
            (vec![("not-hash", hash(7)), ("not-hash", block)], "xnur?"),
            (vec![("hash", hash(7)), ("hash", hash(8)), ("not-hash", hash(9))], "i?"),
        ] {
            let mut selection = super::super::Selection::default();
            words.iter().for_each(|(word, hash)| selection.add(word, &hash.to_string()).unwrap());
            let filter = selection.compile();
            let admitted = records.iter().filter(|(_, tracepoint, record)| filter.admits(*tracepoint, record));
            assert_eq!(admitted.map(|(letter, ..)| letter).collect::<String>(), expected, "{words:?}");
            // Nobody looks for hashes in what is lost.
            let lost = records.iter().filter(|(_, tracepoint, record)| filter.may_admit(*tracepoint, record));
            assert_eq!(lost.count(), records.len());
        }
    }

    /// Each message that names a hash, with all roles.
    #[test]
    fn each_message_names_what_is_in_it() {
        let mut commands = BTreeSet::new();
        let mut roles = Vec::new();
        for sample in samples::samples() {
            let meta = net::Meta::new(7, "a", net::ConnectionType::Inbound, sample.command, true, 0);
            let msg = p2p::decode(sample.command, &sample.payload);
            let kind = Kind::Msg(net::Message { meta, msg, payload: None });
            let mut names = 0;
            Event { time: Time(0), moment: Moment(0), kind }.names(|name| {
                names += 1;
                roles.push(name.role);
            });
            if names > 0 {
                commands.insert(sample.command);
                assert!(is_command_with_names(sample.command), "{}", sample.command);
            }
        }
        let expected: BTreeSet<_> = p2p::COMMANDS.iter().copied().filter(|it| is_command_with_names(it)).collect();
        assert_eq!(commands, expected);
        for role in [Role::Subject, Role::Locator, Role::Stop] {
            assert!(roles.contains(&role), "{role:?}");
        }
        assert!(roles.iter().any(|role| matches!(role, Role::Within(_))));
    }
}
