//! Single messages of the protocol. In: each message. Out: families by direction, command and connection type; and the
//! message's content, to the families in `inventory.rs`, `addresses.rs`, `versions.rs` and `contents.rs`. What several
//! messages say together has state and a file of its own.

mod addresses;
mod contents;
mod inventory;
mod versions;

pub(super) use self::inventory::FILTERED_BLOCK;
use self::{addresses::Addresses, contents::Contents, inventory::Inventory, versions::Versions};
use super::{
    Options,
    family::{Counters, Histograms, Registered, families},
    group::{Group, Shared, WHOLE},
    labels::{
        INBOUND, MESSAGES, OUTBOUND, command, command_index, connection_type, direction, sized_command,
        sized_command_index,
    },
};
use crate::{
    event::{Event, Kind, Moment, Time, net::Message},
    p2p,
    tracepoint::Tracepoints,
};

/// Upper bounds in bytes, up to MAX_PROTOCOL_MESSAGE_LENGTH in Bitcoin Core.
const SIZES: &[f64] =
    &[32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 2097152.0, 4000000.0];

families! {
    struct Families with _options {
        /// P2P messages by direction, command and type of the connection, from the tracepoints net:inbound_message and
        /// net:outbound_message. The first fires when the node processes a message, not when it arrives. The second
        /// fires when the node queues a message, which it may never send. Commands that Bitcoin Core has never used
        /// count as other. Does not count what the node drops earlier, such as a message with a wrong checksum: no
        /// tracepoint reports it. The node still sends an alert to peers of protocol version 70012 or less.
        p2p_messages_total: Counters<3> = [direction(), command(), connection_type()], from &MESSAGES;

        /// Payload bytes of the P2P messages in bitcointap_p2p_messages_total. These are not the bytes on the wire: the
        /// transport's headers, encryption and retransmissions are not included.
        p2p_message_bytes_total: Counters<3> = [direction(), command(), connection_type()], from &MESSAGES;

        /// Payload bytes of single P2P messages, without the transport's header. Only for commands in use that have
        /// payloads of varying size.
        p2p_message_size_bytes: Histograms<2> = ([direction(), sized_command()], SIZES), from &MESSAGES;

        /// P2P messages with a payload that is not what their command says. Only payloads that were copied whole are
        /// checked. Does not count messages with an unknown command, nor payloads that could not be read.
        p2p_undecodable_messages_total: Counters<2> = [direction(), command()], from &MESSAGES;
    }
}

/// The families of messages and of their contents.
pub(super) struct Messages {
    families: Families,
    inventory: Inventory,
    addresses: Addresses,
    versions: Versions,
    contents: Contents,
}

impl Group for Messages {
    /// Includes payloads that are read only to see whether they decode.
    fn reads(_: &Options) -> Vec<(&'static str, u32)> {
        [
            "addr",
            "addrv2",
            "cmpctblock",
            "feefilter",
            "getaddr",
            "getblocks",
            "getblocktxn",
            "getcfcheckpt",
            "getcfheaders",
            "getcfilters",
            "getdata",
            "getheaders",
            "headers",
            "inv",
            "mempool",
            "notfound",
            "ping",
            "pong",
            "reject",
            "sendaddrv2",
            "sendcmpct",
            "sendheaders",
            "verack",
            "version",
            "wtxidrelay",
        ]
        .map(|command| (command, WHOLE))
        .into()
    }

    fn new(options: &Options) -> Self {
        Self {
            families: Families::new(options),
            inventory: Inventory::new(options),
            addresses: Addresses::new(options),
            versions: Versions::new(options),
            contents: Contents::new(options),
        }
    }

    fn attach(&mut self, attached: Tracepoints, registered: &mut Registered) {
        self.families.attach(attached, registered);
        self.inventory.attach(attached, registered);
        self.addresses.attach(attached, registered);
        self.versions.attach(attached, registered);
        self.contents.attach(attached, registered);
    }

    fn observe(&mut self, event: &Event<'_>, _: &Shared) {
        if let Kind::Msg(message) = &event.kind {
            self.message(event.moment, event.time, message);
        }
    }

    fn node_gone(&mut self) {
        self.versions.node_gone();
    }
}

impl Messages {
    fn message(&mut self, now: Moment, time: Time, message: &Message<'_>) {
        let Message { meta, msg: _, payload: _ } = message;
        let direction = if meta.inbound { INBOUND } else { OUTBOUND };
        let command = command_index(meta.command);
        let connection_type = meta.conn_type as usize;
        self.families.p2p_messages_total.at([direction, command, connection_type]).inc();
        self.families.p2p_message_bytes_total.at([direction, command, connection_type]).inc_by(meta.size);
        if let Some(sized_command) = sized_command_index(command) {
            self.families.p2p_message_size_bytes.at([direction, sized_command]).observe(meta.size as f64);
        }
        self.content(now, time, direction, command, message);
    }

    fn content(
        &mut self,
        now: Moment,
        time: Time,
        direction: usize,
        command: usize,
        Message { meta, msg, payload: _ }: &Message<'_>,
    ) {
        use p2p::Message::*;
        match msg {
            Undecodable { .. } => self.families.p2p_undecodable_messages_total.at([direction, command]).inc(),
            Inv { items } => self.inventory.observe(direction, inventory::Message::Inv, *items),
            Getdata { items } => self.inventory.observe(direction, inventory::Message::Getdata, *items),
            Notfound { items } => self.inventory.observe(direction, inventory::Message::Notfound, *items),
            Addr { addresses } => {
                self.addresses.observe(time, meta, direction, addresses::Message::Addr, addresses);
            }
            Addrv2 { addresses } => {
                self.addresses.observe(time, meta, direction, addresses::Message::Addrv2, addresses);
            }
            &Version { version, services, timestamp, ref user_agent, .. } => {
                if meta.inbound {
                    let version = versions::Version { version, services, timestamp, user_agent };
                    self.versions.observe(now, time, meta, &version);
                }
            }
            Headers { headers } => self.contents.headers(direction, headers.len()),
            Getblocktxn { block_hash: _, tx_indexes } => {
                self.contents.block_transactions_requested(direction, tx_indexes.len());
            }
            Compactblock { header: _, nonce: _, short_ids, transactions } => {
                self.contents.compact_block(direction, short_ids.len(), transactions.len());
            }
            &Feefilter { fee } => self.contents.fee_filter(direction, fee),
            &Ping { value } => {
                if meta.inbound {
                    self.contents.ping(Some(value));
                }
            }
            Oldping(_) => {
                if meta.inbound {
                    self.contents.ping(None);
                }
            }
            Reject { rejected_command, reason, reason_details: _, hash: _ } => {
                self.contents.reject(direction, rejected_command, *reason);
            }
            // These feed no family.
            Verack(_)
            | Sendheaders(_)
            | Getaddr(_)
            | Mempool(_)
            | Wtxidrelay(_)
            | Sendaddrv2(_)
            | Filterclear(_)
            | Emptyaddrv2(_)
            | Getblocks { .. }
            | Getheaders { .. }
            | Tx { .. }
            | Block { .. }
            | Pong { .. }
            | Alert { .. }
            | Sendcompact { .. }
            | Feature { .. }
            | Sendtxrcncl { .. }
            | Blocktxn { .. }
            | Filteradd { .. }
            | Filterload { .. }
            | Merkleblock { .. }
            | Getcfilter { .. }
            | Getcfheaders { .. }
            | Getcfcheckpt { .. }
            | Cfilter { .. }
            | Cfheaders { .. }
            | Cfcheckpt { .. }
            | Unknown { .. }
            | HeaderOnly { .. }
            | BlockHashOnly { .. }
            | Unavailable { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        json::Bytes,
        metrics::testing::{assert_histogram_of_one, message, told},
        p2p,
    };

    fn unknown<'a>(command: &'a str) -> p2p::Message<'a> {
        p2p::Message::Unknown { command, payload: Bytes(b"") }
    }

    #[test]
    fn messages_count_by_direction_command_and_connection_type() {
        let mut told = told();
        told.tell(message(true, "ping", 8, p2p::Message::Ping { value: 1 }))
            .tell(message(true, "ping", 8, p2p::Message::Ping { value: 2 }))
            .tell(message(false, "ping", 8, p2p::Message::Ping { value: 3 }))
            .tell(message(true, "made-up", 5, unknown("made-up")))
            .tell(message(true, "made-up-too", 5, unknown("made-up-too")))
            .assert(
                "p2p_messages_total",
                &[
                    "{command=\"other\",connection_type=\"outbound-full-relay\",direction=\"inbound\"} 2",
                    "{command=\"ping\",connection_type=\"outbound-full-relay\",direction=\"inbound\"} 2",
                    "{command=\"ping\",connection_type=\"outbound-full-relay\",direction=\"outbound\"} 1",
                ],
            )
            .assert(
                "p2p_message_bytes_total",
                &[
                    "{command=\"other\",connection_type=\"outbound-full-relay\",direction=\"inbound\"} 10",
                    "{command=\"ping\",connection_type=\"outbound-full-relay\",direction=\"inbound\"} 16",
                    "{command=\"ping\",connection_type=\"outbound-full-relay\",direction=\"outbound\"} 8",
                ],
            )
            .assert("p2p_undecodable_messages_total", &[]);
        assert_eq!(told.family("p2p_message_size_bytes"), None, "these have one size, or one that a peer makes up");
    }

    #[test]
    fn sizes_count_where_they_vary() {
        let mut told = told();
        told.tell(message(true, "tx", 1_048_576, p2p::Message::Unavailable { command: "tx", reason: "unreadable" }));
        let label = "command=\"tx\",direction=\"inbound\",";
        let bounds = ["1048576", "2097152", "4000000", "+Inf"];
        assert_histogram_of_one(&told, "p2p_message_size_bytes", label, &bounds, 1_048_576.0);
        told.assert("p2p_undecodable_messages_total", &[]);
    }

    #[test]
    fn undecodable_messages_count_by_command() {
        let mut told = told();
        let undecodable = || p2p::decode("ping", &[1]);
        told.tell(message(true, "ping", 1, undecodable()))
            .tell(message(true, "ping", 1, undecodable()))
            .assert("p2p_undecodable_messages_total", &["{command=\"ping\",direction=\"inbound\"} 2"]);
    }
}
