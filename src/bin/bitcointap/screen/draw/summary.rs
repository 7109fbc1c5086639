//! The first lines: the node, its events, its connections, its mempool, one line each.

use bitcointap::{event::net::ConnectionType, live::Snapshot, tracepoint::Tracepoint};
use ratatui::{
    Frame,
    layout::Rect,
    style::Color,
    text::{Line, Span},
};

use super::{BOLD, DIM, REVERSED, Shown, Theme, cut_pieces, lately, pieces, rate};
use crate::screen::{keys::View, text};

pub fn node(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, view: &View) {
    let Shown { snapshot, ended, replays, theme, .. } = *shown;
    let mut line = vec![vec![Span::styled("bitcointap", BOLD)]];
    if view.paused {
        line.push(vec![Span::styled(" paused ", REVERSED)]);
    }
    if replays {
        line.push(vec![Span::styled("recording", theme.colour(Color::Cyan))]);
    }
    let without = |words: String| vec![Span::styled(words, theme.colour(Color::Yellow).patch(BOLD))];
    if let Some(node) = &snapshot.node {
        if let Some(why) = ended {
            line.push(without(why.to_owned()));
        }
        // Green means attached now.
        let colour = if replays { Color::Cyan } else { Color::Green };
        line.push(vec![Span::styled(format!("pid {}", node.pid), theme.colour(colour).patch(BOLD))]);
        let of = [node.chain, node.user_agent.as_deref()].into_iter().flatten();
        line.extend(of.map(|words| vec![Span::raw(text::plain(words, area.width.into()))]));
        line.push(vec![Span::raw(format!("up {}", text::lasted(snapshot.time - node.start_time)))]);
        line.push(vec![Span::raw(text::plural(node.attached.len() as u64, "tracepoint", "tracepoints"))]);
        line.push(vec![Span::raw(format!("{} UTC", text::time_of_day(snapshot.time)))]);
        let place = [node.data_directory.as_deref(), node.host.as_deref()].into_iter().flatten();
        line.extend(place.map(|words| vec![Span::raw(text::plain(words, area.width.into()))]));
        if !node.missing.is_empty() {
            line.push(vec![Span::styled(format!("absent: {}", node.missing.join(", ")), DIM)]);
        }
    } else {
        line.extend(ended.map(|why| without(why.to_owned())));
        line.push(vec![Span::raw(format!("{} UTC", text::time_of_day(snapshot.time)))]);
    }
    frame.render_widget(pieces(area.width, line), area);
}

pub fn events(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let events = &shown.snapshot.events;
    let lost = if events.lost > 0 { shown.theme.alarming() } else { DIM };
    let full = match events.ring_buffer_bytes {
        0 => 0.0,
        size => 100.0 * events.ring_buffer_used_bytes as f64 / size as f64,
    };
    let losses: Vec<String> =
        events.losses.iter().map(|it| format!("{} {} {}", it.count, it.tracepoint, it.reason)).collect();
    let line = [
        vec![Span::styled(text::rate(rate(&shown.snapshot.history.events_fired)), BOLD), Span::raw(" events/s")],
        vec![Span::styled(format!("{} lost", text::exact(events.lost)), lost)],
        vec![Span::raw(format!("ring {full:.0}%"))],
        vec![Span::raw(format!("{} in all", text::exact(events.fired)))],
        last_block(shown.snapshot),
        vec![Span::styled(losses.join(", "), lost)],
    ];
    frame.render_widget(pieces(area.width, line), area);
}

fn last_block(snapshot: &Snapshot) -> Vec<Span<'static>> {
    let Some(tip) = snapshot.tip else {
        let why = snapshot.sight.why_not(Tracepoint::ValidationBlockConnected);
        return why.map(|why| vec![Span::styled(format!("blocks: {why}"), DIM)]).unwrap_or_default();
    };
    let height = text::exact(tip.height.max(0) as u64);
    let ago = text::lasted(snapshot.time - tip.time);
    vec![Span::raw("block "), Span::styled(height, BOLD), Span::raw(format!(" {ago} ago"))]
}

pub fn connections(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let Shown { snapshot, theme, .. } = *shown;
    let Snapshot { peers, sight, .. } = snapshot;
    let of_type = |wanted: ConnectionType| peers.iter().filter(|peer| peer.connection_type == wanted.name()).count();
    let types = ConnectionType::ALL.map(|it| (it, of_type(it)));
    let mut by_type: Vec<_> = types.into_iter().filter(|&(_, count)| count > 0).collect();
    by_type.sort_by_key(|&(wanted, _)| wanted == ConnectionType::Unknown);
    let by_type: Vec<String> =
        by_type.into_iter().map(|(wanted, count)| format!("{count} {}", text::short_type(wanted.name()))).collect();
    let types = if by_type.is_empty() { String::new() } else { format!(": {}", by_type.join(", ")) };
    let peers = [Span::styled("peers ", DIM), Span::styled(peers.len().to_string(), BOLD), Span::raw(types)];
    let notes = sight.peers.iter().map(|note| vec![Span::styled(note.clone(), DIM)]);
    let (changes, all_seen) = changes(snapshot, theme);
    let totals = all_seen.then(|| totals(snapshot));
    let line = [peers.to_vec()].into_iter().chain(changes).chain(notes).chain(totals);
    frame.render_widget(cut_pieces(area.width, line), area);
}

/// The changes in the last minute. What bitcointap cannot see says why. Returns also whether it sees everything.
fn changes<'a>(snapshot: &'a Snapshot, theme: Theme) -> (Vec<Vec<Span<'a>>>, bool) {
    use Tracepoint::{NetClosedConnection, NetEvictedInboundConnection, NetInboundConnection, NetOutboundConnection};
    let Snapshot { history, sight, .. } = snapshot;
    let minute = |history: &[u32]| lately(history, 60);
    let evicted = minute(&history.connections_evicted);
    let notable = if evicted > 0 { theme.colour(Color::Yellow) } else { DIM };
    // Sign, number and words; the name of what cannot be seen, and why.
    let counts = [
        (
            "+",
            minute(&history.connections_opened),
            " ",
            theme.colour(Color::Green),
            "opened",
            sight.why_none(&[NetInboundConnection, NetOutboundConnection]),
        ),
        (
            "-",
            minute(&history.connections_closed),
            " ",
            theme.colour(Color::Magenta),
            "closed",
            sight.why_not(NetClosedConnection),
        ),
        ("", evicted, " evicted", notable, "evicted", sight.why_not(NetEvictedInboundConnection)),
    ];
    let mut lately = vec![Span::styled("last minute ", DIM)];
    lately.extend(counts.iter().map(|&(sign, count, words, style, _, unseen)| {
        let count = if unseen.is_some() { "?".to_owned() } else { count.to_string() };
        Span::styled(format!("{sign}{count}{words}"), style)
    }));
    let (names, reasons): (Vec<_>, Vec<_>) = counts.iter().filter_map(|&(.., name, why)| Some((name, why?))).unzip();
    let Some(why) = reasons.first() else { return (vec![lately], true) };
    let unseen = |what: &str| vec![Span::styled(format!("{what}: {why}"), DIM)];
    let line =
        if names.len() == counts.len() { vec![unseen("connections")] } else { vec![lately, unseen(&names.join(", "))] };
    (line, false)
}

fn totals(snapshot: &Snapshot) -> Vec<Span<'static>> {
    let totals = &snapshot.totals;
    let [opened, closed, evicted] =
        [totals.connections_opened, totals.connections_closed, totals.connections_evicted].map(text::exact);
    let mut words = format!("in all {opened} opened, {closed} closed, {evicted} evicted");
    if snapshot.peers_dropped > 0 {
        words.push_str(&format!(", {} not known any more", text::exact(snapshot.peers_dropped)));
    }
    vec![Span::styled(words, DIM)]
}

pub fn mempool(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    use Tracepoint::{MempoolAdded, MempoolRejected, MempoolRemoved, MempoolReplaced};
    let Snapshot { history, totals, sight, .. } = shown.snapshot;
    if let Some(why) = sight.why_none(&[MempoolAdded, MempoolRemoved, MempoolReplaced, MempoolRejected]) {
        frame.render_widget(Line::styled(format!("mempool: {why}"), DIM), area);
        return;
    }
    // All digits if the words still fit.
    let number = if area.width >= 110 { text::exact } else { text::count };
    let piece = |what: &'static str, tracepoint, history: &[u32], total| {
        if let Some(why) = sight.why_not(tracepoint) {
            return vec![Span::styled(format!("{what}? {why}"), DIM)];
        }
        let per_second = Span::styled(format!("{}/s", text::rate(rate(history))), BOLD);
        vec![Span::raw(what), per_second, Span::styled(format!(" {}", number(total)), DIM)]
    };
    let net = lately(&history.mempool_added, 60) as i64 - lately(&history.mempool_removed, 60) as i64;
    let is_seen = sight.why_not(MempoolAdded).or(sight.why_not(MempoolRemoved)).is_none();
    let net = if is_seen { format!("{net:+}") } else { "?".to_owned() };
    let line = [
        vec![Span::styled("mempool ", DIM), Span::styled(net, BOLD), Span::raw("/min")],
        piece("+", MempoolAdded, &history.mempool_added, totals.mempool_added),
        piece("-", MempoolRemoved, &history.mempool_removed, totals.mempool_removed),
        piece("rejected ", MempoolRejected, &history.mempool_rejected, totals.mempool_rejected),
        piece("replaced ", MempoolReplaced, &history.mempool_replaced, totals.mempool_replaced),
    ];
    frame.render_widget(pieces(area.width, line), area);
}
