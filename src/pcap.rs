//! P2P messages as packets, in a pcapng file that Wireshark's dissector of Bitcoin reads. In: [`Event`]s, in their order.
//! Out: the file's bytes, to a stream.
//!
//! Tracepoints show what the node sends and receives, not how it travels. So the packets are synthesised. Each peer has a TCP
//! conversation. Each message in it is framed as in the old transport (v1), with the main network's magic, which Wireshark
//! knows, whatever the node's network is. Times are those of the events. The payload, and the peer's address and port, are
//! those of the tracepoint. Values that it does not provide are synthesised:
//!
//! - the node's address: 192.0.2.1 or 2001:db8::1, with port 8333 for peers that connect to it;
//! - an address for each name (onion, I2P, a host's): hashed from it, under the prefixes of OnionCat (fd87:d87e:eb43::/48),
//!   of GarliCat (fd60:db4d:ddb5::/48), and of Bitcoin Core's internal addresses (fd6b:88c0:8724::/48). The file gives the
//!   names to Wireshark;
//! - a port from 49152 on, from the peer's number, for a peer that connects from an unknown port.
//!
//! A message with a payload that was not copied is a packet cut short, with the reason in its comment. A comment of the next
//! packet reports lost events. Wireshark may have another protocol for a peer's port: its preference
//! `tcp.try_heuristic_first` makes it look at the content first.

mod blocks;
mod conversation;
mod conversations;
mod endpoint;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use self::{
    blocks::Way,
    conversation::{Conversation, Sink},
    conversations::{Conversations, NODE_IPV4, NODE_IPV6},
    endpoint::Endpoint,
};
use crate::{
    capture::Run,
    event::{
        Event, Kind, Lost, Time,
        net::{Conn, Connection, ConnectionType, Message},
    },
    p2p,
    spool::{Format, Line},
    tracepoint::{About, LossReason, Tracepoint, Tracepoints},
};

/// Writes packets for events, of one node after another. After an error of the stream the file is broken off, and
/// nothing can be added to it.
#[derive(Debug, Default)]
pub struct Writer {
    conversations: Conversations,
    /// What is missing before the next packet.
    gaps: BTreeMap<(Tracepoint, LossReason), u64>,
    segment: Vec<u8>,
}

impl Format for Writer {
    const RECORDS: &'static str = "packets";

    fn decodes(&self) -> bool {
        false
    }

    fn begin(&mut self, out: &mut impl Write) -> io::Result<()> {
        *self = Self::start(out)?;
        Ok(())
    }

    fn event(&mut self, out: &mut impl Write, event: &Event<'_>, _: Line) -> io::Result<()> {
        Self::event(self, out, event).map(drop)
    }

    fn run_begins(&mut self, _: &Run) {
        self.node_gone();
    }

    fn end(&mut self, out: &mut impl Write, time: Time) -> io::Result<()> {
        std::mem::take(self).finish(out, time)
    }
}

impl Writer {
    /// The tracepoints that it makes packets of.
    pub fn tracepoints() -> Tracepoints {
        use About::*;
        let is_one = |tracepoint: &Tracepoint| match tracepoint.about() {
            MessageToNode | MessageToPeer | InboundConnection | OutboundConnection | AnyConnection => true,
            Peer | Coin | NoPeer => false,
        };
        Tracepoint::all().filter(is_one).collect()
    }

    /// Writes the beginning of a file.
    pub fn start(out: &mut (impl Write + ?Sized)) -> io::Result<Self> {
        blocks::write_header(out)?;
        for address in [NODE_IPV4.into(), NODE_IPV6.into()] {
            blocks::write_name(out, address, "node")?;
        }
        Ok(Self::default())
    }

    /// Writes an event, in a few writes for each packet: `out` should have a buffer. Returns whether there was anything
    /// to write.
    pub fn event(&mut self, out: &mut (impl Write + ?Sized), event: &Event<'_>) -> io::Result<bool> {
        match &event.kind {
            Kind::Msg(message) => self.message(out, event.time, message)?,
            Kind::Conn { event: Connection::Inbound { conn, .. } | Connection::Outbound { conn, .. } } => {
                return self.opened(out, event.time, conn);
            }
            Kind::Conn { event: Connection::InboundEvicted { conn, .. } } => {
                // The conversation ends when the node closes the connection, which comes later.
                if let Some(conversation) = self.conversations.get(conn.peer_id) {
                    conversation.is_evicted = true;
                }
                return Ok(false);
            }
            Kind::Conn { event: Connection::Closed { conn, .. } } => {
                return self.closed(out, event.time, conn.peer_id);
            }
            Kind::Lost(lost) => {
                self.miss(*lost);
                return Ok(false);
            }
            Kind::Conn { event: Connection::Misbehaving { .. } }
            | Kind::Mempool { .. }
            | Kind::Validation { .. }
            | Kind::Utxocache { .. }
            | Kind::CoinSelection { .. } => return Ok(false),
        }
        Ok(true)
    }

    /// The node's run has ended: the next run counts its peers from 0 again.
    pub fn node_gone(&mut self) {
        self.conversations.clear();
    }

    /// Writes what no packet will report: events that were lost after the last packet.
    pub fn finish(mut self, out: &mut (impl Write + ?Sized), time: Time) -> io::Result<()> {
        match self.take_gaps() {
            gaps if gaps.is_empty() => Ok(()),
            gaps => blocks::write_statistics(out, time, &gaps),
        }
    }

    fn message(&mut self, out: &mut (impl Write + ?Sized), time: Time, message: &Message<'_>) -> io::Result<()> {
        let Message { meta, msg, payload } = message;
        let comments = self.take_gaps();
        let sink = &mut Sink { out, time, comments, segment: &mut self.segment };
        let conversation = match self.conversations.get(meta.peer_id) {
            Some(conversation) => conversation,
            None => open(&mut self.conversations, sink, meta.peer_id, Endpoint::of(&meta.addr), meta.conn_type)?,
        };
        let way = if meta.inbound { Way::In } else { Way::Out };
        match payload {
            Some(payload) => conversation.say(sink, way, meta.command, payload),
            None => {
                let reason = match msg {
                    p2p::Message::Unavailable { reason, .. } => reason,
                    _ => "unknown",
                };
                let (command, size) = (meta.command.escape_debug(), meta.size);
                sink.comments.push(format!("payload of {command} ({size} bytes) not captured: {reason}"));
                conversation.say_unseen(sink, way, meta.command, size)
            }
        }
    }

    fn opened(&mut self, out: &mut (impl Write + ?Sized), time: Time, conn: &Conn<'_>) -> io::Result<bool> {
        let endpoint = Endpoint::of(&conn.addr);
        // The node may send something before its tracepoint reports the connection.
        if self.conversations.get(conn.peer_id).is_some_and(|conversation| conversation.is_with(endpoint)) {
            return Ok(false);
        }
        let comments = self.take_gaps();
        let sink = &mut Sink { out, time, comments, segment: &mut self.segment };
        open(&mut self.conversations, sink, conn.peer_id, endpoint, conn.conn_type)?;
        Ok(true)
    }

    fn closed(&mut self, out: &mut (impl Write + ?Sized), time: Time, peer_id: i64) -> io::Result<bool> {
        let Some(mut conversation) = self.conversations.close(peer_id) else { return Ok(false) };
        let mut comments = self.take_gaps();
        if conversation.is_evicted {
            comments.push("evicted to make room for another inbound connection".to_owned());
        }
        conversation.close(&mut Sink { out, time, comments, segment: &mut self.segment })?;
        Ok(true)
    }

    fn miss(&mut self, lost: Lost) {
        if lost.tracepoint.context() == "net" {
            let count = self.gaps.entry((lost.tracepoint, lost.reason)).or_default();
            *count = count.saturating_add(lost.count);
        }
    }

    fn take_gaps(&mut self) -> Vec<String> {
        let gaps = std::mem::take(&mut self.gaps).into_iter();
        let told = |((tracepoint, reason), count): ((Tracepoint, LossReason), u64)| {
            let count = match (reason.is_counted(), count) {
                (false, _) => "events".into(),
                (true, 1) => "1 event".into(),
                (true, count) => format!("{count} events"),
            };
            format!("{count} of {tracepoint} lost before: {}", reason.name())
        };
        gaps.map(told).collect()
    }
}

fn open<'a, W: Write + ?Sized>(
    conversations: &'a mut Conversations,
    sink: &mut Sink<'_, W>,
    peer_id: i64,
    endpoint: Endpoint<'_>,
    connection_type: ConnectionType,
) -> io::Result<&'a mut Conversation> {
    let is_inbound = connection_type == ConnectionType::Inbound;
    let conversation = conversations.open(peer_id, endpoint.address, is_inbound);
    if let Some(name) = endpoint.name {
        blocks::write_name(sink.out, endpoint.address.ip(), name)?;
    }
    conversation.open(sink)?;
    Ok(conversation)
}
