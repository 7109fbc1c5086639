//! The screen. In: a snapshot and what of it is wanted. Out: a frame of any size, from 1×1 up.

use bitcointap::live::{Command, Happened, Happening, Snapshot};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Row, Sparkline, Table},
};

use super::{
    table,
    text::{age, printable, short},
    view::{Pane, View},
};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Seconds that a rate of the header is the mean of.
const WINDOW: usize = 10;

const HELP: &str = "\
q, Ctrl-C        quit
< >  or arrows   column by which the peers are sorted
r                the other way round
/                only peers with a text; Esc: all again
up down PgUp PgDn Home End
                 other peers
Tab              connections, blocks, mempool
p, space         stand still
h, ?             this";

pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, view: &mut View, log: Option<&str>) {
    let area = frame.area();
    let middle = match area.height {
        0..=15 => 0,
        16..=29 => 8,
        30..=44 => 12,
        _ => 16,
    };
    let [head, middle, peers, foot] = Layout::vertical([
        Constraint::Length(4.min(area.height.saturating_sub(2))),
        Constraint::Length(middle),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(snapshot, view)), head);
    if middle.height > 0 {
        draw_middle(frame, snapshot, view, middle);
    }
    draw_peers(frame, snapshot, view, peers);
    frame.render_widget(Paragraph::new(footer(snapshot, view, log)), foot);
    if view.help {
        let [box_area] = Layout::horizontal([Constraint::Length(60)]).flex(ratatui::layout::Flex::Center).areas(area);
        let [box_area] = Layout::vertical([Constraint::Length(12)]).flex(ratatui::layout::Flex::Center).areas(box_area);
        frame.render_widget(Clear, box_area);
        frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" keys ")), box_area);
    }
}

/// The mean of the last seconds, each second.
fn rate<T: Copy + Into<u64>>(values: &[T]) -> f64 {
    let last = &values[values.len().saturating_sub(WINDOW)..];
    last.iter().map(|&value| value.into()).sum::<u64>() as f64 / last.len().max(1) as f64
}

fn in_a_minute(values: &[u32]) -> u32 {
    values[values.len().saturating_sub(60)..].iter().sum()
}

fn header<'a>(snapshot: &'a Snapshot, view: &View) -> Vec<Line<'a>> {
    let mut state = vec![Span::styled("bitcointap ", BOLD)];
    match (&snapshot.node, snapshot.waiting) {
        (Some(node), _) => {
            let up = age(snapshot.time - node.start_time);
            let text = format!("pid {}, up {up}, {} tracepoints", node.pid, node.attached.len());
            state.push(Span::styled("attached", Style::new().fg(Color::Green)));
            state.push(Span::raw(format!(" to {text}")));
            if !node.missing.is_empty() {
                state.push(Span::styled(format!(", {} missing", node.missing.len()), DIM));
            }
        }
        (None, why) => {
            state.push(Span::styled(format!("waiting for a node: {}", why.unwrap_or("none runs")), BAD));
        }
    }
    if view.paused {
        state.push(Span::styled("  PAUSED", BAD));
    }
    let history = &snapshot.history;
    let events = &snapshot.events;
    let ring = events.ring_buffer_used_bytes as f64 / (events.ring_buffer_bytes.max(1)) as f64 * 100.0;
    let lost = if events.lost > 0 { BAD } else { Style::new() };
    let messages = vec![
        Span::raw(format!(
            "messages in {}/s {}B/s, out {}/s {}B/s; events {}, ",
            short(rate(&history.inbound_messages)),
            short(rate(&history.inbound_bytes)),
            short(rate(&history.outbound_messages)),
            short(rate(&history.outbound_bytes)),
            short(events.fired as f64),
        )),
        Span::styled(format!("{} lost", short(events.lost as f64)), lost),
        Span::raw(format!(", ring {ring:.0}%")),
    ];
    let inbound = snapshot.peers.iter().filter(|peer| peer.connection_type == "inbound").count();
    let totals = &snapshot.totals;
    let peers = format!(
        "peers {inbound} in, {} out; opened {}, closed {} in a minute; evicted {}",
        snapshot.peers.len() - inbound,
        in_a_minute(&history.connections_opened),
        in_a_minute(&history.connections_closed),
        short(totals.connections_evicted as f64),
    );
    let block = snapshot.blocks.first().and_then(|block| match &block.what {
        Happened::BlockConnected { height, .. } => {
            Some(format!("; block {height} {} ago", age(snapshot.time - block.time)))
        }
        _ => None,
    });
    let mempool = format!(
        "mempool +{}/s -{}/s, rejected {}/s, replaced {}{}",
        short(rate(&history.mempool_added)),
        short(rate(&history.mempool_removed)),
        short(rate(&history.mempool_rejected)),
        short(totals.mempool_replaced as f64),
        block.unwrap_or_default(),
    );
    vec![Line::from(state), Line::from(messages), Line::from(peers), Line::from(mempool)]
}

fn draw_middle(frame: &mut Frame<'_>, snapshot: &Snapshot, view: &View, area: Rect) {
    let widths = match area.width {
        0..=59 => [Constraint::Min(1), Constraint::Length(0), Constraint::Length(0)],
        60..=119 => [Constraint::Length(40), Constraint::Min(1), Constraint::Length(0)],
        _ => [Constraint::Length(46), Constraint::Length(area.width / 4), Constraint::Min(1)],
    };
    let [left, center, right] = Layout::horizontal(widths).spacing(1).areas(area);
    frame.render_widget(commands(snapshot, left), left);
    if right.width > 0 {
        draw_charts(frame, snapshot, center);
        draw_happenings(frame, snapshot, view, right);
    } else if center.width > 0 {
        draw_happenings(frame, snapshot, view, center);
    }
}

/// The busiest first.
fn commands(snapshot: &Snapshot, area: Rect) -> Table<'static> {
    let sum = |command: &Command| command.inbound.messages_per_second + command.outbound.messages_per_second;
    let mut commands: Vec<&Command> = snapshot.commands.iter().collect();
    commands.sort_by(|a, b| sum(b).total_cmp(&sum(a)));
    let rows = commands.iter().take(area.height.saturating_sub(1).into()).map(|command| {
        let numbers = [
            command.inbound.messages_per_second,
            command.outbound.messages_per_second,
            command.inbound.bytes_per_second + command.outbound.bytes_per_second,
            (command.inbound.messages + command.outbound.messages) as f64,
        ];
        let cells = numbers.map(|number| Line::from(short(number)).right_aligned());
        Row::new([vec![Line::from(command.command)], cells.to_vec()].concat())
    });
    let titles = ["IN/S", "OUT/S", "B/S", "TOTAL"].map(|title| Line::from(title).right_aligned());
    let header = Row::new([vec![Line::from("MESSAGE")], titles.to_vec()].concat()).style(BOLD);
    let numbers = [Constraint::Length(6); 4];
    Table::new(rows, [Constraint::Min(8)].into_iter().chain(numbers)).header(header).column_spacing(1)
}

fn draw_charts(frame: &mut Frame<'_>, snapshot: &Snapshot, area: Rect) {
    let history = &snapshot.history;
    let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).areas(area);
    for (title, values, color, area) in [
        ("messages in", &history.inbound_messages, Color::Cyan, above),
        ("messages out", &history.outbound_messages, Color::Yellow, below),
    ] {
        let shown = &values[values.len().saturating_sub(area.width.into())..];
        let most = shown.iter().max().copied().unwrap_or_default();
        let block =
            Block::new().title(format!("{title}, {} at most in a second", short(most.into()))).title_style(BOLD);
        let values = shown.iter().map(|&value| u64::from(value));
        frame.render_widget(Sparkline::default().data(values).style(Style::new().fg(color)).block(block), area);
    }
}

fn draw_happenings(frame: &mut Frame<'_>, snapshot: &Snapshot, view: &View, area: Rect) {
    let (title, happenings) = match view.pane {
        Pane::Connections => ("CONNECTIONS", &snapshot.connections),
        Pane::Blocks => ("BLOCKS", &snapshot.blocks),
        Pane::Mempool => ("MEMPOOL", &snapshot.mempool),
    };
    let title = Line::from(vec![Span::styled(title, BOLD), Span::styled("  Tab: others", DIM)]);
    let lines = happenings.iter().take(area.height.saturating_sub(1).into());
    let lines = lines.map(|it| Line::from(happening(it, snapshot.time)));
    frame.render_widget(Paragraph::new([title].into_iter().chain(lines).collect::<Vec<_>>()), area);
}

fn happening(it: &Happening, now: f64) -> String {
    let what = match &it.what {
        Happened::NodeAttached { pid } => format!("attached to pid {pid}"),
        Happened::NodeDetached { why } => (*why).to_owned(),
        Happened::Opened { connection: c } => {
            format!("+{} {} {}", c.id, shown(c.address.as_deref()), c.connection_type)
        }
        Happened::Closed { connection: c, lasted, .. } => {
            format!("-{} {} after {}", c.id, shown(c.address.as_deref()), age(*lasted as f64))
        }
        Happened::Evicted { connection: c, lasted } => {
            format!("!{} {} evicted after {}", c.id, shown(c.address.as_deref()), age(*lasted as f64))
        }
        Happened::Misbehaving { id, address, reason } => {
            format!("!{id} {} misbehaving: {}", shown(address.as_deref()), printable(reason))
        }
        Happened::BlockConnected { height, transactions, connection_seconds, .. } => {
            format!("{height}, {transactions} transactions, {connection_seconds:.2} s")
        }
        Happened::Replaced { txid, fee, replacement_fee, .. } => {
            format!("replaced {} fee {fee} -> {replacement_fee}", &txid[..8.min(txid.len())])
        }
        Happened::Rejected { txid, reason } => {
            format!("rejected {} {}", &txid[..8.min(txid.len())], printable(reason))
        }
        _ => String::new(),
    };
    format!("{:>6} {what}", age(now - it.time))
}

fn shown(address: Option<&str>) -> String {
    printable(address.unwrap_or("hidden"))
}

fn draw_peers(frame: &mut Frame<'_>, snapshot: &Snapshot, view: &mut View, area: Rect) {
    let peers = view.peers(snapshot);
    let page = usize::from(area.height.saturating_sub(1)).max(1);
    let last = peers.len().saturating_sub(page);
    let first = view.first.min(last);
    let shown = &peers[first..(first + page).min(peers.len())];
    frame.render_widget(table::peers(shown, view, snapshot.time, area), area);
    (view.first, view.page) = (first, page);
}

fn footer<'a>(snapshot: &Snapshot, view: &'a View, log: Option<&str>) -> Line<'a> {
    if view.typing || !view.filter.is_empty() {
        let cursor = if view.typing { "_" } else { "  Esc: all peers" };
        let found = view.peers(snapshot).len();
        return Line::from(format!("/{}{cursor}  {found} of {}", printable(&view.filter), snapshot.peers.len()));
    }
    let keys = "q quit  <> sort  r reverse  / filter  Tab pane  p pause  h help";
    match log {
        // It is all after the end.
        Some(log) => Line::from(vec![Span::styled("h help  ", DIM), Span::styled(printable(log), BAD)]),
        None => Line::styled(keys, DIM),
    }
}
