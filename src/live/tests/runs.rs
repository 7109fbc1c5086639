//! The node in the snapshot after attachments, ends and waiting: which node is shown, why there is none, and what cannot be seen.

use super::*;

#[test]
fn the_nodes_end_is_the_end_of_its_peers_and_not_of_what_was_counted() {
    let mut seen = seen();
    let waiting = |seen: &Seen| seen.live.snapshot().waiting;
    assert_eq!(waiting(&seen).as_deref(), Some("looking for the node"));
    seen.live.waits("two run");
    assert_eq!(waiting(&seen).as_deref(), Some("two run"));
    seen.attached("net").tell(opened(1));
    let node = seen.live.snapshot().node.unwrap();
    assert_eq!((node.pid, node.start_time, node.attached.len()), (7, 900.5, 7));
    let of = [node.data_directory.as_deref(), node.chain, node.host.as_deref()];
    assert_eq!(of, ["/data", "signet", "host"].map(Some));
    let missing = (Tracepoints::default_set().iter().count()) - 7;
    assert_eq!((node.attached[0], node.missing.len()), ("net:inbound_message", missing));

    seen.live.added(&counters(5, 2));
    seen.detached(&counters(1, 1)).at(1_001);
    let snapshot = seen.live.snapshot();
    assert_eq!((&snapshot.node, snapshot.waiting.as_deref()), (&None, Some("the node has ended")));
    assert_eq!(snapshot.peers, []);
    let loss = |count| vec![Loss { tracepoint: "net:inbound_message", reason: "ring_full", count }];
    let all = Tracepoint::COUNT as u64;
    assert_eq!((snapshot.events.fired, snapshot.events.lost, snapshot.events.losses), (6 * all, 3, loss(3)));

    // In the next run, peers are numbered from the beginning.
    seen.attached("net").tell(opened(1)).live.added(&counters(1, 1));
    let snapshot = seen.at(1_002).live.snapshot();
    assert_eq!((snapshot.events.fired, snapshot.events.lost, snapshot.events.losses), (7 * all, 4, loss(4)));
    assert_eq!(seen.peers(), [1]);
    assert_eq!(snapshot.history.events_lost, [3, 1]);
}

#[test]
fn the_node_says_its_version_to_its_peers() {
    let mut seen = seen();
    let agent = |seen: &Seen| seen.live.snapshot().node.and_then(|node| node.user_agent);
    seen.attached("net");
    let mut says = |inbound: bool, connection_type, user_agent: &str| {
        let payload = version(user_agent);
        let mut kind = with_peer(1, inbound, "version", &payload);
        if let Kind::Msg(message) = &mut kind {
            message.meta.conn_type = connection_type;
        }
        agent(seen.tell(kind))
    };
    // The user agents of a peer, and of the node in a private broadcast. Neither is the node's own.
    assert_eq!(says(true, ConnectionType::Inbound, "/Satoshi:0.1.0/"), None);
    assert_eq!(says(false, ConnectionType::PrivateBroadcast, "/pynode:0.0.1/"), None);
    assert_eq!(says(false, ConnectionType::Inbound, "/Satoshi:31.0.0/").as_deref(), Some("/Satoshi:31.0.0/"));
    // The user agent belongs to the run.
    seen.detached(&counters(1, 0)).attached("net");
    assert_eq!(agent(&seen), None);
}

#[test]
fn an_attachment_is_of_the_time_that_is_told_after_it() {
    let mut live = Live::new(Tracepoints::default_set(), false);
    live.attached(&Run::new(7, "/bitcoind".into(), 900.0, "net".parse().unwrap()));
    let snapshot = live.snapshot();
    assert_eq!((snapshot.node, snapshot.connections, snapshot.waiting.as_deref()), (None, vec![], Some("attaching")));
    live.at(Time(2_000 * SECOND), Moment(5 * SECOND));
    let snapshot = live.snapshot();
    let [attached] = &snapshot.connections[..] else { panic!("it is told once") };
    assert_eq!((attached.time, &attached.what), (2_000.0, &Happened::NodeAttached { pid: 7 }));
    assert_eq!(snapshot.node.map(|node| node.attached_time), Some(2_000.0));
    live.at(Time(2_001 * SECOND), Moment(6 * SECOND));
    assert_eq!(live.snapshot().connections.len(), 1);
}

/// The notes on tracepoints, and on peers.
fn unseen(live: &Live, names: &[&str]) -> Vec<Option<String>> {
    let sight = live.snapshot().sight;
    names.iter().map(|&name| sight.unseen.get(name).cloned()).collect()
}

#[test]
fn what_cannot_be_seen_says_why() {
    let names = ["net:inbound_message", "net:closed_connection", "mempool:added", "validation:block_connected"];
    let words = |words: [Option<&str>; 4]| words.map(|it| it.map(str::to_owned)).to_vec();
    let mut seen = seen();
    assert_eq!(unseen(&seen.live, &names), words([Some("not attached"); 4]));
    seen.attached("net:inbound_message,net:outbound_message,mempool");
    assert_eq!(unseen(&seen.live, &names), words([None, Some("needs v29"), None, Some("needs v23")]));
    seen.detached(&counters(1, 0));
    assert_eq!(unseen(&seen.live, &names), words([Some("not attached"); 4]));

    let mut live = Live::new("net".parse().unwrap(), false).of(Origin::Recording);
    let attached = "net:inbound_message,net:inbound_connection".parse().unwrap();
    live.attached(&Run { failed: Tracepoints::default(), ..Run::new(7, "/bitcoind".into(), 0.0, attached) });
    live.at(Time(SECOND), Moment(SECOND));
    let expected = [None, Some("not recorded"), Some("not selected (--events)"), Some("not selected (--events)")];
    assert_eq!(unseen(&live, &names), words(expected));
    assert!(live.snapshot().replay);

    let mut live = Live::new(Tracepoints::default_set(), false);
    let failed = "mempool:added".parse().unwrap();
    live.attached(&Run { failed, ..Run::new(7, "/bitcoind".into(), 0.0, "net".parse().unwrap()) });
    assert_eq!(unseen(&live, &names[2..3]), [Some("could not be attached to: see the log".to_owned())]);
}

#[test]
fn it_is_said_why_there_may_be_other_peers() {
    let notes = |events: &str, passed: u64| {
        let mut seen = seen();
        seen.attached(events).at(START + passed);
        seen.live.snapshot().sight.peers
    };
    let older = "older peers: with their first message";
    assert_eq!(notes("net", 100), [older]);
    assert_eq!(notes("net", 151), [""; 0]);
    let messages = "net:inbound_message,net:outbound_message";
    let stay = "peers that left stay for up to 30 minutes (closings: needs v29)";
    assert_eq!(notes(messages, 100), [older, stay]);
    assert_eq!(notes("mempool", 100), ["needs v23"]);
    assert_eq!(
        notes("net:inbound_connection,net:closed_connection", 0),
        ["earlier peers are missing (messages: needs v23)"]
    );
    // If the node started a moment before, there are no older peers.
    let mut live = Live::new(Tracepoints::default_set(), false);
    live.attached(&Run::new(7, "/bitcoind".into(), 999.0, "net".parse().unwrap()));
    live.at(Time(START * SECOND), Moment(START * SECOND));
    assert_eq!(live.snapshot().sight.peers, [""; 0]);
}

#[test]
fn a_node_that_another_publishes_goes_as_one_of_this_machine() {
    let live = Live::new(Tracepoints::default_set(), false).of(Origin::Publisher);
    let mut seen = Seen { live, second: START };
    seen.attached("net").at(START).tell(opened(1));
    assert_eq!(unseen(&seen.live, &["net:inbound_message", "mempool:added"]), [None, Some("not published".to_owned())]);
    assert_eq!(seen.peers(), [1]);
    seen.detached(&counters(5, 0));
    let snapshot = seen.live.snapshot();
    assert_eq!((snapshot.replay, snapshot.node.is_none(), seen.peers()), (false, true, vec![]));
}

#[test]
fn what_a_run_of_a_recording_ends_with_is_there_until_the_next_begins() {
    let mut live = Live::new(Tracepoints::default_set(), false).of(Origin::Recording);
    let mut seen = {
        live.attached(&Run::new(7, "/bitcoind".into(), 900.0, "net".parse().unwrap()));
        live.at(Time(START * SECOND), Moment(START * SECOND));
        Seen { live, second: START }
    };
    seen.tell(opened(1)).detached(&counters(5, 0));
    seen.live.over();
    let snapshot = seen.live.snapshot();
    assert_eq!((snapshot.over, snapshot.node.map(|node| node.pid), seen.peers()), (true, Some(7), vec![1]));
    assert_eq!(snapshot.events.fired, 5 * Tracepoint::COUNT as u64);
    assert_eq!(unseen(&seen.live, &["net:inbound_message", "mempool:added"]), [None, Some("not recorded".to_owned())]);
    seen.attached("net");
    let snapshot = seen.live.snapshot();
    let happened: Vec<_> = snapshot.connections.iter().map(|it| &it.what).collect();
    assert!(matches!(happened[..2], [Happened::NodeAttached { .. }, Happened::NodeDetached { .. }]), "{happened:?}");
    assert_eq!(seen.peers(), [0; 0]);
}
