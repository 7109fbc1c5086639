use bitcointap::{
    event::{
        Event, Kind, Moment, Time,
        net::{Conn, Connection, ConnectionType, Message, Meta},
    },
    live::{Live, Snapshot},
    p2p,
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{
    view::{Asked, Column, View},
    widgets,
};

const SECOND: u64 = 1_000_000_000;

/// A node with these peers: number, address, user agent, pings that it sent in ten seconds.
fn snapshot(peers: &[(i64, &str, &str, usize)]) -> Snapshot {
    let mut live = Live::new(Live::tracepoints(), false);
    let now = |second: u64| (Time(second * SECOND), Moment(second * SECOND));
    let (time, moment) = now(1_000);
    live.at(time, moment);
    for &(peer_id, address, user_agent, pings) in peers {
        let conn_type = ConnectionType::Inbound;
        let conn = Conn { peer_id, addr: address.into(), conn_type, network: 1 };
        let event = Connection::Inbound { conn, existing_connections: 1 };
        live.observe(&Event { time, moment, kind: Kind::Conn { event } });
        let mut said = |command: &str, payload: &[u8]| {
            let size = payload.len() as u64;
            let meta = Meta { peer_id, addr: address.into(), conn_type, command, inbound: true, size };
            let message = Message { meta, msg: p2p::decode(command, payload), payload: None };
            live.observe(&Event { time, moment, kind: Kind::Msg(message) });
        };
        let version = [&[0; 80][..], &[user_agent.len() as u8], user_agent.as_bytes(), &[0; 5]].concat();
        said("version", &version);
        (0..pings).for_each(|_| said("ping", &[1; 8]));
    }
    let (time, moment) = now(1_001);
    live.at(time, moment);
    live.snapshot()
}

fn screen(snapshot: &Snapshot, view: &mut View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| widgets::draw(frame, snapshot, view, None)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(line).collect()
}

fn press(view: &mut View, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            key => KeyCode::Char(key),
        };
        assert_eq!(view.key(KeyEvent::new(code, KeyModifiers::NONE)), Asked::Nothing);
    }
}

/// The numbers of the peers, from above.
fn ids(screen: &[String]) -> Vec<i64> {
    let table = screen.iter().skip_while(|line| !line.contains("ADDRESS")).skip(1);
    table.map_while(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn three() -> Snapshot {
    snapshot(&[
        (1, "8.8.8.8:1", "/b/", 10),
        (2, "[2001:db8::1]:2", "/a/", 30),
        (3, "9.9.9.9:3", "/Satoshi:31.0.0/", 20),
    ])
}

#[test]
fn any_size_is_drawn() {
    let snapshot = three();
    for width in [1, 2, 20, 40, 59, 60, 80, 120, 200, 300] {
        for height in [1, 2, 3, 5, 10, 16, 24, 30, 50, 100] {
            let mut view = View::new(Column::In);
            screen(&snapshot, &mut view, width, height);
            press(&mut view, "h");
            screen(&snapshot, &mut view, width, height);
        }
    }
}

#[test]
fn what_matters_is_there_at_80_by_24_and_all_at_200_by_50() {
    let (snapshot, mut view) = (three(), View::new(Column::In));
    let small = screen(&snapshot, &mut view, 80, 24).join("\n");
    for words in [
        "waiting for a node",
        "messages in",
        "0 lost",
        "peers 3 in, 0 out",
        "mempool",
        "MESSAGE",
        "ping",
        "ADDRESS",
        "/Satoshi:",
        "q quit",
    ] {
        assert!(small.contains(words), "{words}: {small}");
    }
    let large = screen(&snapshot, &mut view, 200, 50).join("\n");
    for words in ["messages out, 0 at most", "CONNECTIONS", "+3 9.9.9.9:3 inbound", "NETWORK", "ipv4", "MSGS"] {
        assert!(large.contains(words), "{words}: {large}");
    }
}

#[test]
fn peers_are_sorted_by_the_chosen_column() {
    let snapshot = three();
    for (column, expected) in [
        (Column::Id, [1, 2, 3]),
        (Column::Address, [1, 3, 2]),
        (Column::UserAgent, [3, 2, 1]),
        (Column::In, [2, 3, 1]),
        (Column::Bytes, [2, 3, 1]),
        (Column::Messages, [2, 3, 1]),
    ] {
        let mut view = View::new(column);
        assert_eq!(ids(&screen(&snapshot, &mut view, 120, 30)), expected, "{column:?}");
        press(&mut view, "r");
        let reversed: Vec<i64> = expected.into_iter().rev().collect();
        assert_eq!(ids(&screen(&snapshot, &mut view, 120, 30)), reversed, "{column:?}");
    }
    let mut view = View::new(Column::Age);
    press(&mut view, ">");
    assert_eq!(view.sort, Column::In);
    press(&mut view, "<<");
    assert_eq!(view.sort, Column::Network);
}

#[test]
fn only_peers_with_a_text_are_shown() {
    let (snapshot, mut view) = (three(), View::new(Column::Id));
    press(&mut view, "/SAT");
    let lines = screen(&snapshot, &mut view, 120, 30);
    assert_eq!(ids(&lines), [3]);
    assert!(lines.last().unwrap().starts_with("/SAT_  1 of 3"), "{lines:?}");
    // What is typed is no command, until it ends.
    press(&mut view, "q\n");
    assert!(ids(&screen(&snapshot, &mut view, 120, 30)).is_empty());
    press(&mut view, "\u{1b}");
    assert_eq!(ids(&screen(&snapshot, &mut view, 120, 30)), [1, 2, 3]);
}

#[test]
fn many_peers_are_paged() {
    let address = |id: i64| format!("8.8.8.8:{id}");
    let addresses: Vec<String> = (0..100).map(address).collect();
    let peers: Vec<_> = (0i64..100).zip(&addresses).map(|(id, address)| (id, address.as_str(), "", 0)).collect();
    let (snapshot, mut view) = (snapshot(&peers), View::new(Column::Id));
    let key = |view: &mut View, code| view.key(KeyEvent::new(code, KeyModifiers::NONE));
    let first = |view: &mut View| ids(&screen(&snapshot, view, 80, 24));
    assert_eq!(first(&mut view), (0..10).collect::<Vec<_>>());
    key(&mut view, KeyCode::PageDown);
    key(&mut view, KeyCode::Down);
    assert_eq!(first(&mut view)[0], 11);
    key(&mut view, KeyCode::End);
    assert_eq!(first(&mut view), (90..100).collect::<Vec<_>>());
    key(&mut view, KeyCode::Up);
    assert_eq!(first(&mut view)[0], 89);
    key(&mut view, KeyCode::Home);
    assert_eq!(first(&mut view)[0], 0);
}

#[test]
fn what_peers_choose_cannot_do_anything_to_the_terminal() {
    let hostile = "\u{1b}[2J\u{1b}]0;x\u{7}\u{202e}evil\r\n\u{200b}\u{9b}31m";
    let (snapshot, mut view) = (snapshot(&[(1, hostile, hostile, 1)]), View::new(Column::In));
    for (width, height) in [(80, 24), (200, 50)] {
        let text = screen(&snapshot, &mut view, width, height).concat();
        assert!(text.contains("evil"));
        assert!(text.chars().all(|char| !char.is_control() && char != '\u{202e}' && char != '\u{200b}'), "{text:?}");
    }
}

#[test]
fn q_and_control_c_quit_also_while_help_is_shown() {
    let mut view = View::new(Column::In);
    let key = |view: &mut View, code, modifiers| view.key(KeyEvent::new(code, modifiers));
    assert_eq!(key(&mut view, KeyCode::Char('q'), KeyModifiers::NONE), Asked::Quit);
    press(&mut view, "?");
    assert_eq!(key(&mut view, KeyCode::Char('q'), KeyModifiers::NONE), Asked::Quit);
    press(&mut view, "/q");
    assert_eq!(view.filter, "q");
    assert_eq!(key(&mut view, KeyCode::Char('c'), KeyModifiers::CONTROL), Asked::Quit);
}
