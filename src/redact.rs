//! Takes out of events what shall not be shared. In: runs, and batches as they were tapped. Out: the same without addresses, or with the
//! hashes of transactions in place of transactions.
//!
//! It works on records, before any output gets them: so no output needs to know of it. What may hold an address and cannot be cleaned is left
//! out. Conditions are asked about the records as they were: [`Batch`] keeps both.
//!
//! `pseudonyms` has what takes an address's place, `texts` finds addresses in texts. Where payloads have addresses, `p2p` knows.

mod key;
mod pseudonyms;
#[cfg(test)]
mod tests;
mod texts;

use std::{borrow::Cow, path::PathBuf, sync::Arc};

pub use self::key::Key;
pub(crate) use self::texts::masked;
use self::{pseudonyms::Pseudonyms, texts::mask};
use crate::{
    capture::{Batch, Run},
    event::{
        net::{IDS_ONLY, REDACTED, command_of, payload_length},
        parts_in_bytes, tracepoint_of,
    },
    kernel_side::{
        self,
        types::{connection_record, event_header, message_record, payload_state},
    },
    p2p::places::{self, Place, What},
    tracepoint::{About, Tracepoint},
};

/// What to take out.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Addresses of peers and nodes: pseudonyms made with this key take their places.
    pub addresses: Option<Key>,
    /// Pseudonyms show which addresses are of one netgroup.
    pub keeps_netgroups: bool,
    /// Transactions: their hashes take their places.
    pub transactions: bool,
}

/// Takes out what the options say.
#[derive(Clone, Debug)]
pub struct Redactor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    addresses: Option<Pseudonyms>,
    transactions: bool,
}

impl Redactor {
    /// `None` if nothing is taken out.
    pub fn new(options: &Options) -> Option<Self> {
        let &Options { ref addresses, keeps_netgroups, transactions } = options;
        let addresses = addresses.as_ref().map(|key| Pseudonyms::new(key, keeps_netgroups));
        (addresses.is_some() || transactions).then(|| Self(Arc::new(Inner { addresses, transactions })))
    }

    /// Whether addresses are taken out.
    pub fn redacts_addresses(&self) -> bool {
        self.0.addresses.is_some()
    }

    /// The run without the names of its machine and of directories, in which users' names may stand.
    pub fn run(&self, run: &Run) -> Run {
        if self.0.addresses.is_none() {
            return run.clone();
        }
        Run {
            program: run.program.file_name().map(PathBuf::from).unwrap_or_default(),
            data_directory: None,
            host: None,
            user_agent: run.user_agent.as_deref().map(masked),
            ..run.clone()
        }
    }

    /// The batch without what is taken out.
    pub fn batch(&self, batch: &Arc<Batch>) -> Arc<Batch> {
        Arc::new(batch.changed(|record, out| self.0.record(record, out)))
    }
}

impl Inner {
    fn record(&self, record: &[u8], out: &mut Vec<u8>) {
        let Some(tracepoint) = tracepoint_of(record) else { return out.extend_from_slice(record) };
        let changed = match tracepoint.about() {
            About::MessageToNode | About::MessageToPeer => self.message(record, out),
            About::InboundConnection | About::OutboundConnection | About::AnyConnection => self.connection(record, out),
            About::Peer | About::Coin | About::NoPeer => self.other(tracepoint, record, out),
        };
        if changed.is_none() {
            // It is no record of its tracepoint, and does not become one.
            out.extend_from_slice(&record[..size_of::<event_header>()]);
        }
    }

    fn message(&self, record: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (mut fixed, text, payload) = parts_in_bytes::<message_record>(record)?;
        let payload = payload.get(..usize::try_from(payload_length(&fixed)).ok()?)?;
        let command = command_of(record, &fixed)?;
        let payload = match payload_state(fixed.payload.into()) {
            payload_state::PAYLOAD_WHOLE => self.payload(&mut fixed, command, payload),
            payload_state::PAYLOAD_BEGINNING => places::of_beginning(command, payload).map(|length| {
                fixed.copied = length as u32;
                Cow::Borrowed(&payload[..length])
            }),
            _ => Some(Cow::Borrowed(payload)),
        };
        if payload.is_none() {
            (fixed.payload, fixed.copied) = (REDACTED, 0);
        }
        let text = self.address(text);
        fixed.header.text_length = text.len() as u16;
        [kernel_side::bytes_of(&fixed), &text, &payload.unwrap_or_default()]
            .into_iter()
            .for_each(|part| out.extend_from_slice(part));
        Some(())
    }

    /// What is left of a whole payload. `None` if it must be left out.
    fn payload<'a>(&self, fixed: &mut message_record, command: &str, payload: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.transactions && places::has_transactions(command) {
            let ids = places::with_ids_only(command, payload)?;
            (fixed.payload, fixed.copied) = (IDS_ONLY, ids.len() as u32);
            return Some(ids.into());
        }
        let Some(pseudonyms) = &self.addresses else { return Some(payload.into()) };
        let mut payload = Cow::Borrowed(payload);
        for Place { at, what } in places::of(command, &payload)? {
            let part = &mut payload.to_mut()[at];
            match what {
                What::AddressV1 => pseudonyms.v1(part.try_into().ok()?),
                What::AddressV2(network) => pseudonyms.v2(network, part),
                What::Text => mask(part),
            }
        }
        Some(payload)
    }

    /// A record whose text is an address.
    fn connection(&self, record: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (mut fixed, text, _) = parts_in_bytes::<connection_record>(record)?;
        let text = self.address(text);
        fixed.header.text_length = text.len() as u16;
        out.extend_from_slice(kernel_side::bytes_of(&fixed));
        out.extend_from_slice(&text);
        Some(())
    }

    /// A record whose text, if it has one, is about something else.
    fn other(&self, tracepoint: Tracepoint, record: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        out.extend_from_slice(record);
        if self.addresses.is_some() {
            mask(out[start..].get_mut(tracepoint.layout().size.into()..)?);
        }
        Some(())
    }

    fn address<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.addresses {
            Some(pseudonyms) => pseudonyms.peer(&String::from_utf8_lossy(text)).into_bytes().into(),
            None => text.into(),
        }
    }
}
