use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent},
};

use bitcointap::tracepoint::Tracepoints;

use super::*;
use crate::screen::{
    peers::Column,
    testing::{Node, busy},
};

const COLOURS: Theme = Theme { has_colours: true };

fn buffer(shown: &Shown<'_>, view: &mut View, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, shown, view)).unwrap();
    terminal.backend().buffer().clone()
}

fn shown(snapshot: &Snapshot) -> Shown<'_> {
    Shown { snapshot, ended: None, replays: false, log: None, theme: COLOURS }
}

/// Lines without the spaces at their ends.
fn lines(shown: &Shown<'_>, view: &mut View, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(shown, view, width, height);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn press(view: &mut View, keys: &[KeyCode]) {
    keys.iter().for_each(|&code| assert!(view.press(KeyEvent::from(code)).is_continue()));
}

/// The numbers of the peers, from the top.
fn ids(lines: &[String]) -> Vec<i64> {
    let table = lines.iter().skip_while(|line| !line.contains(" address")).skip(1);
    table.map_while(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn at_80_by_24_there_is_what_matters() {
    let snapshot = busy();
    let tracepoints = Tracepoints::default_set().len();
    let log = "ts=2026-11-23T04:45:17Z level=warn message=\"events were lost\"\n";
    let shown = Shown { log: Some(log), ..shown(&snapshot) };
    assert_eq!(
        lines(&shown, &mut View::new(Column::In), 80, 24),
        [
            &*format!("bitcointap  pid 7  up 2m52  {tracepoints} tracepoints  16:20:51 UTC"),
            "0 events/s  0 lost  ring 0%  0 in all  block 896,001 2s ago",
            "peers 4: 1 in, 2 full, 1 block  last minute +3 -0 1 evicted  older peers: with …",
            "mempool +25/min  +2.5/s 25  -0/s 0  rejected 0.1/s 1  replaced 0/s 0",
            "command        in/s  out/s     B/s   messages in 8.3/s  15k B/s  peak 83",
            "ping            4.3      0      34                                            █",
            "inv             4.0      0     15k                      ▁                     █",
            "pong              0    0.3     2.4   messages out 0.7/s  1.3k B/s  peak 7",
            "tx                0    0.3      90                                            █",
            "cmpctblock        0    0.1    1.2k                                            █",
            "    id address               type        age  in/s▼  out/s   ping user agent",
            "     1 192.0.2.1:50333       full        52s    8.0      0        /�[31mred�/",
            "     0 xa4r2iadxm55fbnqgwwi… inbound    1m52    0.3    0.6        /Satoshi:29.0…",
            "     2 [2001:db8::2]:8333    block       22s      0    0.1",
            "     3 [2001:db8::3]:8333    full         2s      0      0",
            "",
            "",
            " connections    blocks    mempool    networks",
            "16:20:49  evicted   in          9  192.0.2.9:1            after 1m50",
            "16:20:49  opened    full        3  [2001:db8::3]:8333",
            "16:20:29  opened    block       2  [2001:db8::2]:8333",
            "16:19:59  opened    full        1  192.0.2.1:50333",
            "warn  events were lost",
            "1-4 of 4  q quit  ? help  <> sort  r reverse  / filter  p pause  Tab pane",
        ]
    );
}

#[test]
fn at_200_by_50_there_is_everything() {
    let snapshot = busy();
    let text = lines(&shown(&snapshot), &mut View::new(Column::In), 200, 50).join("\n");
    for words in [
        "in all 4 opened, 0 closed, 1 evicted",
        "command        in/s  out/s     B/s  B/s in B/s out",
        "peak 83  in 3 min",
        "network",
        "messages    B/s   bytes",
        "outbound-full-relay ipv4",
        "xa4r2iadxm55fbnqgwwi",
        "896,001  2,931 txs  in 48ms",
        "rejected  min relay fee not met�[2J",
        "opened    block       2  [2001:db8::2]:8333",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn every_size_is_drawn_and_only_one_without_rows_for_it_has_no_peers() {
    let snapshot = busy();
    for width in [1, 2, 36, 40, 80, 119, 120, 300] {
        for height in [1, 2, 4, 10, 21, 22, 35, 36, 100] {
            let mut view = View::new(Column::UserAgent);
            buffer(&shown(&snapshot), &mut view, width, height);
            (view.help, view.types_filter) = (true, true);
            buffer(&shown(&snapshot), &mut view, width, height);
        }
    }
    let small = lines(&shown(&snapshot), &mut View::new(Column::In), 40, 10);
    assert_eq!(ids(&small), [1, 0, 2, 3]);
    assert_eq!(small[9], "1-4 of 4  q quit  ? help  <> sort");
}

#[test]
fn no_cell_has_what_could_be_a_control() {
    let snapshot = busy();
    for (width, height) in [(80, 24), (200, 50)] {
        let mut view = View::new(Column::In);
        for pane in Pane::ALL {
            view.pane = pane;
            let log = "\x1b]0;title\x07";
            let shown = Shown { log: Some(log), ..shown(&snapshot) };
            let buffer = buffer(&shown, &mut view, width, height);
            let is_harmful = |letter: char| letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter);
            assert!(!buffer.content().iter().any(|cell| cell.symbol().chars().any(is_harmful)));
        }
    }
}

#[test]
fn keys_sort_reverse_filter_and_scroll_what_is_drawn() {
    let mut node = Node::new();
    for id in 0..100 {
        node.open(id, &format!("192.0.2.{id}:8333"), bitcointap::event::net::ConnectionType::Inbound, 1);
    }
    let snapshot = node.snapshot();
    let mut view = View::new(Column::Id);
    let mut drawn = |keys: &[KeyCode]| {
        press(&mut view, keys);
        lines(&shown(&snapshot), &mut view, 80, 24)
    };
    assert_eq!(ids(&drawn(&[])), [99, 98, 97, 96, 95, 94]);
    assert_eq!(ids(&drawn(&[KeyCode::Char('r')])), [0, 1, 2, 3, 4, 5]);
    assert_eq!(ids(&drawn(&[KeyCode::PageDown, KeyCode::Down])), [7, 8, 9, 10, 11, 12]);
    assert_eq!(ids(&drawn(&[KeyCode::End])), [94, 95, 96, 97, 98, 99]);
    drawn(&[KeyCode::Down, KeyCode::Down]);
    // Scrolling too far does not need to be undone.
    assert_eq!(ids(&drawn(&[KeyCode::Up])), [93, 94, 95, 96, 97, 98]);
    let filtered = drawn(&[KeyCode::Char('/'), KeyCode::Char('.'), KeyCode::Char('7'), KeyCode::Char(':')]);
    assert_eq!(ids(&filtered), [7]);
    assert_eq!(filtered[23], "filter: .7:_  1 of 100  Enter keeps it, Esc clears it");
    assert!(drawn(&[KeyCode::Enter])[23].starts_with("1-1 of 1   with .7:   q quit"));
    assert!(drawn(&[KeyCode::Esc])[23].starts_with("1-6 of 100  q quit"));
    let sorted = drawn(&[KeyCode::Char('>')]);
    assert!(sorted[10].contains("address▲"), "{}", sorted[10]);
    assert!(drawn(&[KeyCode::Char('r')])[10].contains("address▼"));
    assert!(drawn(&[KeyCode::Char('?')]).join("\n").contains("filter by a text"));
}

#[test]
fn what_is_said_of_the_node_and_of_losses_stands_out() {
    let snapshot = busy();
    let ended = Shown { ended: Some("the recording has ended"), replays: true, ..shown(&snapshot) };
    let mut view = View { paused: true, ..View::new(Column::In) };
    let first = &lines(&ended, &mut view, 80, 24)[0];
    assert_eq!(first, "bitcointap   paused   recording  the recording has ended  pid 7  up 2m52");
    let mut lossy = snapshot.clone();
    lossy.events.lost = 1_234;
    for (has_colours, colour) in [(true, Color::Red), (false, Color::Reset)] {
        let shown = Shown { theme: Theme { has_colours }, ..shown(&lossy) };
        let buffer = buffer(&shown, &mut View::new(Column::In), 80, 24);
        // After "0 events/s  ".
        let cell = &buffer[(12, 1)];
        assert_eq!((cell.symbol(), cell.fg), ("1", colour));
        assert!(cell.modifier.contains(Modifier::BOLD), "nothing is said by colours alone");
        let coloured = buffer.content().iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
        assert_eq!(coloured, has_colours);
    }
}

#[test]
fn what_cannot_be_seen_says_why() {
    let blind = |events: &str| {
        let mut node = Node::with(events.parse().unwrap());
        node.pass(200);
        lines(&shown(&node.snapshot()), &mut View::new(Column::In), 160, 24).join("\n")
    };
    let all = |screen: &str, words: &[&str]| {
        words.iter().for_each(|words| assert!(screen.contains(words), "{words}\n{screen}"));
    };
    // The tracepoints of v25.
    let v25 = blind("net:inbound_message,net:outbound_message,mempool,validation");
    all(
        &v25,
        &[
            "connections: needs v29",
            "peers that left stay for up to 30 minutes (closings: needs v29)",
            "mempool +0/min",
        ],
    );
    assert!(!v25.contains("evicted"), "{v25}");
    let net = blind("net:inbound_message");
    all(&net, &["mempool: needs v25", "blocks: needs v23", "messages out: needs v23"]);
    // A node that started before the attachment, which was just now.
    let mut node = Node::new();
    node.pass(3);
    let lines = lines(&shown(&node.snapshot()), &mut View::new(Column::In), 200, 24).join("\n");
    all(&lines, &["older peers: with their first message"]);
}

#[test]
fn while_there_is_no_node_the_reason_is_there_in_full() {
    let why = "several nodes run, choose one by --datadir or --pid: pid 1 /usr/bin/bitcoind (data directory /var/lib/bitcoind); pid 2 \
               /usr/bin/bitcoind (data directory /home/satoshi/\u{1b}[2J.bitcoin, chain signet)";
    let mut node = Node::new();
    let has_run = node.snapshot();
    node.wait_for(why);
    let mut never = node.snapshot();
    [&mut never.connections, &mut never.blocks, &mut never.mempool].into_iter().for_each(Vec::clear);
    assert!(has_run.node.is_some());
    for (snapshot, unseen) in [(&never, 0), (&node.snapshot(), 1)] {
        let screen = lines(&shown(snapshot), &mut View::new(Column::In), 80, 24);
        let words = screen.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
        assert!(words.contains(&why.replace('\u{1b}', "\u{fffd}")), "{words}");
        assert_eq!(words.matches("waiting for a node").count(), 1, "{words}");
        assert_eq!(words.matches("not attached").count(), unseen, "{words}");
    }
    for (width, height) in [(1, 1), (3, 4), (300, 100)] {
        buffer(&shown(&never), &mut View::new(Column::In), width, height);
    }
}

#[test]
fn the_help_fits_the_smallest_of_usual_terminals() {
    let snapshot = busy();
    let mut view = View { help: true, ..View::new(Column::In) };
    let screen = lines(&shown(&snapshot), &mut view, 80, 24).join("\n");
    let columns = Column::ALL.map(|column| (column.title(), column.meaning()));
    for (term, what) in crate::screen::keys::HELP.into_iter().chain(columns) {
        assert!(screen.lines().any(|line| line.contains(term) && line.contains(what)), "{term} {what}\n{screen}");
    }
    assert!(screen.contains('\u{2518}'), "the frame is whole\n{screen}");
}

#[test]
fn networks_are_counted_as_netinfo_counts_them() {
    let snapshot = busy();
    let mut view = View { pane: Pane::Networks, ..View::new(Column::In) };
    let screen = lines(&shown(&snapshot), &mut view, 80, 24);
    let from = screen.iter().position(|line| line.contains("mempool    networks")).unwrap() + 1;
    let words: Vec<Vec<&str>> = screen[from..from + 4].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words,
        [
            vec!["ipv4", "ipv6", "onion", "i2p", "cjdns", "total", "block"],
            vec!["in", "0", "0", "1", "0", "0", "1"],
            vec!["out", "1", "2", "0", "0", "0", "3", "1"],
            vec!["total", "1", "2", "1", "0", "0", "4"],
        ]
    );
    let large = lines(&shown(&snapshot), &mut View::new(Column::In), 200, 50).join("\n");
    assert!(large.contains("ipv4 ipv6 onion  i2p cjdns total block"), "{large}");
}

#[test]
fn pieces_without_room_are_left_out_and_the_first_is_cut() {
    let piece = |words: &'static str| vec![Span::raw(words)];
    let line = |width| pieces(width, [piece("first"), piece(""), piece("the second"), piece("third")]).to_string();
    assert_eq!(line(24), "first  the second  third");
    assert_eq!(line(23), "first  the second");
    assert_eq!(line(16), "first", "a number could be cut");
    assert_eq!(line(4), "fir…");
    assert_eq!(line(0), "");
}
