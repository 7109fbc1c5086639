//! The rows of connected peers, and their counts by network, after openings, closings and messages.

use super::*;

#[test]
fn a_peer_is_there_from_its_opening_to_its_closing() {
    let mut seen = seen();
    seen.tell(opening(conn_at(3, ConnectionType::Inbound, 2, "[2001:db8::1]:5"))).at(1_005);
    seen.tell(ping(true, 3, ConnectionType::Inbound, "[2001:db8::1]:5"));
    let [peer] = &seen.live.snapshot().peers[..] else { panic!("one peer") };
    let ping = Rates { messages: 1, bytes: 8, ..Rates::default() };
    let expected = Row {
        id: 3,
        address: Some("[2001:db8::1]:5".into()),
        connection_type: "inbound",
        network: "ipv6",
        opened: Some(1_000.0),
        seen: 1_000.0,
        inbound: ping,
        outbound: Rates::default(),
        ping: None,
        min_ping: None,
        user_agent: None,
        offences: 0,
    };
    assert_eq!(*peer, expected);
    seen.tell(closing(conn(3, ConnectionType::Inbound, 2)));
    assert!(seen.peers().is_empty());
}

#[test]
fn messages_make_peers_known_from_before_the_attachment_and_openings_say_more() {
    let mut seen = seen();
    seen.tell(ping(true, 5, ConnectionType::Inbound, "127.0.0.1:7")).at(1_002);
    let before = seen.live.snapshot().peers.remove(0);
    assert_eq!((before.network, before.opened, before.seen), ("unknown", None, 1_000.0));
    seen.tell(opening(conn_at(5, ConnectionType::Inbound, 3, "127.0.0.1:7")));
    let after = seen.live.snapshot().peers.remove(0);
    assert_eq!((after.network, after.opened, after.inbound.messages), ("onion", Some(1_002.0), 1));
}

#[test]
fn what_a_closed_peer_still_says_does_not_bring_it_back() {
    let mut seen = seen();
    seen.tell(opened(1)).tell(closed(1)).tell(with_peer(1, true, "verack", &[])).tell(opened(1));
    assert!(seen.peers().is_empty());
    seen.at(1_060).tell(with_peer(1, true, "verack", &[]));
    assert_eq!(seen.peers(), [1], "numbers are not used twice, but losses make anything possible");
}

#[test]
fn a_row_has_user_agent_pings_and_offences() {
    let [nonce, other] = [7u64, 8].map(u64::to_le_bytes);
    let ms = Duration::from_millis;
    let mut seen = seen();
    seen.tell(opened(1))
        .tell(with_peer(1, false, "version", &version("/ours/")))
        .tell(with_peer(1, true, "version", &version("/Satoshi:31.0.0/<b>")))
        .tell(with_peer(1, true, "version", &version("/a further one is ignored/")))
        .tell(with_peer(1, false, "ping", &nonce))
        .tell_after(ms(80), with_peer(1, true, "pong", &other))
        .tell_after(ms(80), with_peer(1, true, "pong", &nonce))
        .tell_after(ms(90), with_peer(1, true, "pong", &nonce));
    let peer = seen.live.snapshot().peers.remove(0);
    assert_eq!(peer.user_agent.as_deref(), Some("/Satoshi:31.0.0/<b>"));
    assert_eq!((peer.ping, peer.min_ping), (Some(0.08), Some(0.08)));
    seen.at(1_001)
        .tell(with_peer(1, false, "ping", &other))
        .tell_after(ms(250), with_peer(1, true, "pong", &other))
        .tell(misbehaving("bad"));
    let peer = seen.live.snapshot().peers.remove(0);
    assert_eq!((peer.ping, peer.min_ping, peer.offences), (Some(0.25), Some(0.08), 1));
}

#[test]
fn a_long_user_agent_is_cut_between_characters() {
    let mut seen = seen();
    let long = "ü".repeat(200);
    let payload = [&[0; 80][..], &[253, 144, 1], long.as_bytes(), &[0; 5]].concat();
    seen.tell(with_peer(1, true, "version", &payload));
    assert_eq!(seen.live.snapshot().peers[0].user_agent.as_deref(), Some(&long[..256]));
}

#[test]
fn a_peer_that_is_silent_for_half_an_hour_has_gone_where_messages_are_heard() {
    for (words, left) in [("net", vec![2]), ("net:inbound_message,net:closed_connection", vec![1, 2])] {
        let mut seen = seen();
        seen.attached(words).tell(opened(1));
        for minute in 0..=31 {
            seen.at(START + 60 * minute).tell(with_peer(2, true, "verack", &[]));
        }
        assert_eq!(seen.peers(), left, "{words}");
        assert_eq!(seen.live.snapshot().peers_dropped, 2 - left.len() as u64);
    }
}

#[test]
fn peers_are_counted_by_network_and_direction() {
    let mut seen = seen();
    for (peer, connection_type, network) in [
        (1, ConnectionType::Inbound, 1),
        (2, ConnectionType::Inbound, 3),
        (3, ConnectionType::BlockRelayOnly, 1),
        (4, ConnectionType::Manual, 0),
        (5, ConnectionType::OutboundFullRelay, 5),
    ] {
        seen.tell(opening(conn(peer, connection_type, network)));
    }
    let networks = seen.live.snapshot().networks;
    let counted: Vec<_> = networks.networks.iter().map(|it| (it.network, it.inbound, it.outbound)).collect();
    let expected = [("ipv4", 1, 1), ("ipv6", 0, 0), ("onion", 1, 0), ("i2p", 0, 0), ("cjdns", 0, 1), ("npr", 0, 1)];
    assert_eq!(counted, expected);
    assert_eq!((networks.block_relay, networks.manual), (1, 1));
}
