//! Addresses of nodes that peers and the node announce. In: addr and addrv2 messages, and who sent them. Out: families
//! by direction, message and what the message says of each address.

use std::net::IpAddr;

use data_encoding::BASE32_NOPAD;

use crate::metrics::{
    family::{Counters, Histograms, families},
    labels::{INBOUND, INBOUND_MESSAGES, Label, MESSAGES, SERVICES, direction, network, service, service_places},
};
use crate::{
    event::{
        Time,
        net::{ConnectionType, Meta},
    },
    network::{Network, host_of, ip_of},
    p2p::{Address, NetAddress},
};

/// Upper bounds in addresses: Bitcoin Core relays messages of at most 10, and accepts at most 1000.
const ADDRESSES: &[f64] = &[1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0];
/// Upper bounds in seconds: Bitcoin Core does not relay an address older than 10 minutes, and forgets it after 30 days.
const AGES: &[f64] =
    &[60.0, 600.0, 1800.0, 3600.0, 10800.0, 43200.0, 86400.0, 259200.0, 604800.0, 1209600.0, 2592000.0, 31536000.0];

families! {
    struct Addresses with _options {
        /// Addresses of nodes in addr and addrv2 messages, by network. An address counts each time it is announced.
        /// Networks that BIP 155 does not name are unknown; addresses that nobody can reach from elsewhere are
        /// unroutable.
        p2p_addresses_total: Counters<3> = [direction(), message(), network()], from &MESSAGES;

        /// Addresses in peers' addr and addrv2 messages by how near they are to the peer: its own address (self), in
        /// its subnet (IPv4 /16, IPv6 /32; other networks have none), or neither (other); unknown if the peer's own
        /// address is not known, as for inbound peers of Tor. Ports are not compared. The network is that of the
        /// announced address. From the tracepoint net:inbound_message: bitcointap does not know the node's own
        /// addresses, so what the node announces does not count.
        p2p_address_announcements_total: Counters<2> = [network(), nearness()], from INBOUND_MESSAGES;

        /// Addresses in single addr and addrv2 messages. Bitcoin Core accepts 1000.
        p2p_address_message_addresses: Histograms<2> = ([direction(), message()], ADDRESSES), from &MESSAGES;

        /// How long ago nodes were last seen when their addresses were announced, as the message says. Does not include
        /// those in bitcointap_p2p_addresses_from_future_total.
        p2p_address_age_seconds: Histograms<2> = ([direction(), message()], AGES), from &MESSAGES;

        /// Addresses of nodes that were last seen in the future, as the message says, compared with the clock here.
        p2p_addresses_from_future_total: Counters<2> = [direction(), message()], from &MESSAGES;

        /// Services of the nodes in announced addresses, as the message says. An address counts once for each of its
        /// services, and once in other for all services that Bitcoin Core does not name. An address without services
        /// does not count.
        p2p_address_services_total: Counters<3> = [direction(), message(), service()], from &MESSAGES;
    }
}

/// The message: places in the label `message`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    Addr,
    Addrv2,
}

fn message() -> Label {
    Label::new("message", ["addr", "addrv2"])
}

/// How near an address is to the peer that announces it: places in the label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearness {
    Itself,
    Subnet,
    Other,
    Unknown,
}

fn nearness() -> Label {
    Label::new("kind", ["self", "subnet", "other", "unknown"])
}

/// Where a peer is, as far as its messages show.
#[derive(Debug)]
enum Sender {
    Ip(IpAddr),
    /// A Tor address, by public key.
    Onion([u8; 32]),
    /// An I2P address, by hash.
    I2p([u8; 32]),
    Unknown,
}

impl Sender {
    fn new(meta: &Meta<'_>) -> Sender {
        let host = host_of(&meta.addr);
        if let Some(name) = host.strip_suffix(".onion") {
            // A checksum and the version follow the key.
            return base32::<56, 35>(name)
                .and_then(|name| name.first_chunk().copied())
                .map_or(Sender::Unknown, Sender::Onion);
        }
        if let Some(name) = host.strip_suffix(".b32.i2p") {
            return base32::<52, 32>(name).map_or(Sender::Unknown, Sender::I2p);
        }
        match (meta.network, meta.conn_type) {
            // The address of who came by the operator's Tor, or another proxy, is one of the operator's.
            (Network::Onion | Network::I2p | Network::Internal | Network::Unknown, _)
            | (Network::Unroutable, ConnectionType::Inbound | ConnectionType::Unknown) => Sender::Unknown,
            (Network::Unroutable | Network::Ipv4 | Network::Ipv6 | Network::Cjdns, _) => {
                ip_of(&meta.addr).map_or(Sender::Unknown, Sender::Ip)
            }
        }
    }

    fn nearness(&self, address: &Address<'_>) -> Nearness {
        let is_near = |itself, in_subnet| match (itself, in_subnet) {
            (true, _) => Nearness::Itself,
            (false, true) => Nearness::Subnet,
            (false, false) => Nearness::Other,
        };
        match (self, address) {
            (Sender::Unknown, _) => Nearness::Unknown,
            (Sender::Ip(IpAddr::V4(own)), Address::Ipv4(told)) => {
                is_near(own == told, own.octets()[..2] == told.octets()[..2])
            }
            (Sender::Ip(IpAddr::V6(own)), Address::Ipv6(told) | Address::Cjdns(told)) => {
                // CJDNS addresses are made from keys.
                let has_subnets = own.octets()[0] != 0xfc;
                is_near(own == told, has_subnets && own.octets()[..4] == told.octets()[..4])
            }
            (Sender::Onion(own), Address::Torv3(told)) | (Sender::I2p(own), Address::I2p(told)) => {
                is_near(own == told, false)
            }
            (
                Sender::Ip(_) | Sender::Onion(_) | Sender::I2p(_),
                Address::Ipv4(_)
                | Address::Ipv6(_)
                | Address::Torv2(_)
                | Address::Torv3(_)
                | Address::I2p(_)
                | Address::Cjdns(_)
                | Address::Unknown { .. },
            ) => Nearness::Other,
        }
    }
}

/// The `BYTES` bytes of a name of `LENGTH` letters.
fn base32<const LENGTH: usize, const BYTES: usize>(name: &str) -> Option<[u8; BYTES]> {
    let name: [u8; LENGTH] = name.as_bytes().try_into().ok()?;
    let mut bytes = [0; BYTES];
    BASE32_NOPAD.decode_mut(&name.map(|letter| letter.to_ascii_uppercase()), &mut bytes).ok()?;
    Some(bytes)
}

impl Addresses {
    pub(super) fn observe(
        &self,
        time: Time,
        meta: &Meta<'_>,
        direction: usize,
        message: Message,
        addresses: &[NetAddress<'_>],
    ) {
        let message = message as usize;
        let sender = (direction == INBOUND).then(|| Sender::new(meta));
        let now = time.0 as f64 / 1e9;
        let mut services = [0; SERVICES];
        for address in addresses {
            let network = Network::of(&address.address) as usize;
            self.p2p_addresses_total.at([direction, message, network]).inc();
            if let Some(sender) = &sender {
                let nearness = sender.nearness(&address.address);
                self.p2p_address_announcements_total.at([network, nearness as usize]).inc();
            }
            let age = now - f64::from(address.timestamp);
            if age < 0.0 {
                self.p2p_addresses_from_future_total.at([direction, message]).inc();
            } else {
                self.p2p_address_age_seconds.at([direction, message]).observe(age);
            }
            for service in service_places(address.services) {
                services[service] += 1;
            }
        }
        for (service, &count) in services.iter().enumerate().filter(|&(_, &count)| count > 0) {
            self.p2p_address_services_total.at([direction, message, service]).inc_by(count);
        }
        self.p2p_address_message_addresses.at([direction, message]).observe(addresses.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Kind, net},
        metrics::testing::{assert_histogram_of_one, told},
        p2p,
    };

    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion:8333";
    const I2P: &str = "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p:0";

    fn from<'a>(addr: &'a str, conn_type: ConnectionType, msg: p2p::Message<'a>) -> Kind<'a> {
        let meta = Meta::new(1, addr, conn_type, "addrv2", true, 1);
        Kind::Msg(net::Message { meta, msg, payload: None })
    }

    fn address(address: Address<'_>) -> NetAddress<'_> {
        NetAddress { timestamp: 900, services: 0, port: 8333, address }
    }

    fn parsed(text: &str) -> Address<'static> {
        match text.parse().unwrap() {
            IpAddr::V4(ip) => Address::Ipv4(ip),
            IpAddr::V6(ip) => Address::Ipv6(ip),
        }
    }

    /// A message at second 1000.
    fn addr(inbound: bool, addresses: Vec<NetAddress<'static>>) -> Kind<'static> {
        crate::metrics::testing::message(inbound, "addr", 1, p2p::Message::Addr { addresses })
    }

    #[test]
    fn addresses_count_by_network() {
        let fc = "fc00::1".parse().unwrap();
        let addresses = vec![
            address(parsed("8.8.8.8")),
            address(parsed("8.8.4.4")),
            address(parsed("10.0.0.1")),
            address(parsed("2a01::1")),
            address(Address::Torv3([1; 32])),
            address(Address::I2p([1; 32])),
            address(Address::Cjdns(fc)),
            address(Address::Cjdns("2a01::1".parse().unwrap())),
            address(Address::Unknown { id: 9, address: crate::json::Bytes(b"x") }),
        ];
        let mut told = told();
        told.tell(from("8.8.8.8:1", ConnectionType::Inbound, p2p::Message::Addrv2 { addresses }))
            .tell(addr(false, vec![address(parsed("8.8.8.8"))]))
            .assert(
                "p2p_addresses_total",
                &[
                    "{direction=\"inbound\",message=\"addrv2\",network=\"cjdns\"} 1",
                    "{direction=\"inbound\",message=\"addrv2\",network=\"i2p\"} 1",
                    "{direction=\"inbound\",message=\"addrv2\",network=\"ipv4\"} 2",
                    "{direction=\"inbound\",message=\"addrv2\",network=\"ipv6\"} 1",
                    "{direction=\"inbound\",message=\"addrv2\",network=\"onion\"} 1",
                    "{direction=\"inbound\",message=\"addrv2\",network=\"unknown\"} 1",
                    "{direction=\"inbound\",message=\"addrv2\",network=\"unroutable\"} 2",
                    "{direction=\"outbound\",message=\"addr\",network=\"ipv4\"} 1",
                ],
            );
    }

    #[test]
    fn announcements_count_by_how_near_they_are() {
        use ConnectionType::{Inbound, Manual, OutboundFullRelay};
        let [onion, i2p] = [ONION, I2P].map(|name| name.split('.').next().unwrap());
        let onion = *base32::<56, 35>(onion).unwrap().first_chunk().unwrap();
        let i2p = base32::<52, 32>(i2p).unwrap();
        let cjdns = |text: &str| Address::Cjdns(text.parse().unwrap());
        for (sender, conn_type, told, expected) in [
            ("8.8.8.8:50000", Inbound, parsed("8.8.8.8"), Nearness::Itself),
            ("8.8.8.8:8333", OutboundFullRelay, parsed("8.8.4.4"), Nearness::Subnet),
            ("8.8.8.8:8333", OutboundFullRelay, parsed("8.9.8.8"), Nearness::Other),
            ("8.8.8.8:8333", OutboundFullRelay, parsed("2a01::1"), Nearness::Other),
            ("[2a01:4f8::1]:1", Inbound, parsed("2a01:4f8::1"), Nearness::Itself),
            ("[2a01:4f8::1]:1", Inbound, parsed("2a01:4f8:9::2"), Nearness::Subnet),
            ("[2a01:4f8::1]:1", Inbound, parsed("2a01:4f9::1"), Nearness::Other),
            ("[fc12::1]:1", Inbound, cjdns("fc12::1"), Nearness::Itself),
            ("[fc12::1]:1", Inbound, cjdns("fc12::2"), Nearness::Other),
            (ONION, OutboundFullRelay, Address::Torv3(onion), Nearness::Itself),
            (ONION, OutboundFullRelay, Address::Torv3([0; 32]), Nearness::Other),
            (I2P, Inbound, Address::I2p(i2p), Nearness::Itself),
            (I2P, Inbound, Address::Torv3(i2p), Nearness::Other),
            ("127.0.0.1:50000", Inbound, parsed("127.0.0.1"), Nearness::Unknown),
            ("127.0.0.1:8333", Manual, parsed("127.0.0.1"), Nearness::Itself),
            ("[fe80::5%1]:8333", Manual, parsed("fe80::5"), Nearness::Itself),
            ("[fe80::5%1]:50000", Inbound, parsed("fe80::5"), Nearness::Unknown),
            ("node.example.com:8333", Manual, parsed("8.8.8.8"), Nearness::Unknown),
            ("x.onion:8333", Manual, parsed("8.8.8.8"), Nearness::Unknown),
            ("", Inbound, parsed("8.8.8.8"), Nearness::Unknown),
        ] {
            let meta = Meta::new(1, sender, conn_type, "addr", true, 1);
            assert_eq!(Sender::new(&meta).nearness(&told), expected, "{sender} tells {told:?}");
        }
        let mut told = told();
        let texts = ["8.8.8.8", "8.8.4.4", "1.1.1.1", "2a01::1"];
        told.tell(addr(true, texts.map(parsed).map(address).into()))
            .tell(addr(false, texts.map(parsed).map(address).into()))
            .assert(
                "p2p_address_announcements_total",
                &[
                    "{kind=\"other\",network=\"ipv4\"} 1",
                    "{kind=\"other\",network=\"ipv6\"} 1",
                    "{kind=\"self\",network=\"ipv4\"} 1",
                    "{kind=\"subnet\",network=\"ipv4\"} 1",
                ],
            );
    }

    #[test]
    fn ages_are_those_of_the_past() {
        let seen = |timestamp| NetAddress { timestamp, ..address(parsed("8.8.8.8")) };
        let mut told = told();
        told.tell(addr(true, vec![seen(400), seen(1_001), seen(u32::MAX)]));
        let label = "direction=\"inbound\",message=\"addr\",";
        let bounds = [
            "600", "1800", "3600", "10800", "43200", "86400", "259200", "604800", "1209600", "2592000", "31536000",
            "+Inf",
        ];
        assert_histogram_of_one(&told, "p2p_address_age_seconds", label, &bounds, 600.0);
        told.assert("p2p_addresses_from_future_total", &["{direction=\"inbound\",message=\"addr\"} 2"]);
        let bounds = ["3", "5", "10", "50", "100", "500", "1000", "+Inf"];
        assert_histogram_of_one(&told, "p2p_address_message_addresses", label, &bounds, 3.0);
    }

    #[test]
    fn services_count_once_an_address() {
        let with = |services| NetAddress { services, ..address(parsed("8.8.8.8")) };
        let mut told = told();
        told.tell(addr(true, vec![with(0), with(0x409), with(1), with(3 << 30)])).assert(
            "p2p_address_services_total",
            &[
                "{direction=\"inbound\",message=\"addr\",service=\"network\"} 2",
                "{direction=\"inbound\",message=\"addr\",service=\"network_limited\"} 1",
                "{direction=\"inbound\",message=\"addr\",service=\"other\"} 1",
                "{direction=\"inbound\",message=\"addr\",service=\"witness\"} 1",
            ],
        );
    }
}
