//! What is where on the screen. In: a [`Snapshot`], and the [`View`] of it. Out: cells of a frame of any size.

mod footer;
mod happenings;
mod netinfo;
mod summary;
mod table;
mod traffic;
mod waiting;

use bitcointap::live::{Row, Snapshot};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::{
    keys::{Pane, View},
    peers, text,
};

/// From this many columns on, the screen has a left and a right side.
const WIDE: u16 = 120;
/// From this many rows on, a wide screen has all three lower panes.
const TALL: u16 = 36;
/// With fewer rows than this, the screen has only the first lines and the peers.
const LOW: u16 = 22;
const LEFT: u16 = 58;

/// What to draw.
pub struct Shown<'a> {
    pub snapshot: &'a Snapshot,
    /// Why nothing more comes.
    pub ended: Option<&'static str>,
    /// Whether this is a replay.
    pub replays: bool,
    /// The last line of the log.
    pub log: Option<&'a str>,
    pub theme: Theme,
}

/// The look. Colours never carry meaning alone.
#[derive(Clone, Copy)]
pub struct Theme {
    pub has_colours: bool,
}

impl Theme {
    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn alarming(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, shown: &Shown<'_>, view: &mut View) {
    let area = frame.area();
    let is_low = area.height < LOW;
    // Without a node there is nothing to say of events, connections and the mempool.
    let waits = shown.snapshot.node.is_none() && shown.ended.is_none();
    let above = |height: u16| u16::from(!waits && area.height > height);
    let wanted = [
        // The node, events, connections, mempool.
        1,
        above(3),
        above(5),
        above(9),
        0,
        u16::from(!is_low),
        u16::from(area.height > 4),
    ];
    let mut constraints = wanted.map(Constraint::Length);
    constraints[4] = Constraint::Fill(1);
    let [node, events, connections, mempool, body, log, keys] = Layout::vertical(constraints).areas(area);
    summary::node(frame, node, shown, view);
    summary::events(frame, events, shown);
    summary::connections(frame, connections, shown);
    summary::mempool(frame, mempool, shown);
    let listed = peers::listed(&shown.snapshot.peers, &view.filter, view.sort, view.reversed);
    let count = listed.len();
    if waits {
        waiting::draw(frame, body, shown, view.pane);
    } else if is_low {
        table::peers(frame, body, shown, view, &listed);
    } else if area.width >= WIDE {
        draw_wide(frame, body, shown, view, &listed);
    } else {
        let (upper, lower) = ((body.height / 3).max(6), (body.height / 4).max(5));
        let [upper, middle, lower] =
            Layout::vertical([Constraint::Length(upper), Constraint::Fill(1), Constraint::Length(lower)]).areas(body);
        let [left, right] = Layout::horizontal([Constraint::Length(36), Constraint::Fill(1)]).spacing(1).areas(upper);
        table::commands(frame, left, shown);
        traffic::draw(frame, right, shown);
        table::peers(frame, middle, shown, view, &listed);
        happenings::tabbed(frame, lower, shown, view.pane);
    }
    footer::log(frame, log, shown);
    footer::keys(frame, keys, shown, view, count);
    if view.help {
        footer::help(frame, area, shown.theme);
    }
}

fn draw_wide(frame: &mut Frame<'_>, body: Rect, shown: &Shown<'_>, view: &mut View, listed: &[&Row]) {
    let is_tall = frame.area().height >= TALL;
    let lower = if is_tall { body.height / 3 } else { (body.height / 4).max(5) };
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Length(lower)]).areas(body);
    let [left, right] = Layout::horizontal([Constraint::Length(LEFT), Constraint::Fill(1)]).spacing(1).areas(upper);
    let graphs = (left.height / 3).max(6);
    let networks = if is_tall { netinfo::ROWS } else { 0 };
    let heights = [Constraint::Fill(1), Constraint::Length(networks), Constraint::Length(graphs)];
    let [commands, networks, graphs] = Layout::vertical(heights).areas(left);
    table::commands(frame, commands, shown);
    netinfo::draw(frame, networks, shown);
    traffic::draw(frame, graphs, shown);
    table::peers(frame, right, shown, view, listed);
    if is_tall {
        let thirds = [Constraint::Fill(10), Constraint::Fill(7), Constraint::Fill(9)];
        let areas: [Rect; 3] = Layout::horizontal(thirds).spacing(1).areas(lower);
        // The last pane is already above.
        for (pane, area) in Pane::ALL.into_iter().zip(areas) {
            happenings::titled(frame, area, shown, pane);
        }
    } else {
        happenings::tabbed(frame, lower, shown, view.pane);
    }
}

/// Pieces side by side, the important ones first. The first one that does not fit and all after it are left out. Only
/// the very first is cut, since half a number is a wrong one.
fn pieces<'a>(width: u16, pieces: impl IntoIterator<Item = Vec<Span<'a>>>) -> Line<'a> {
    beside(width, pieces, false)
}

/// The same for words, which are cut where the room ends.
fn cut_pieces<'a>(width: u16, pieces: impl IntoIterator<Item = Vec<Span<'a>>>) -> Line<'a> {
    beside(width, pieces, true)
}

fn beside<'a>(width: u16, pieces: impl IntoIterator<Item = Vec<Span<'a>>>, cuts: bool) -> Line<'a> {
    const GAP: usize = 2;
    let mut line = Line::default();
    for piece in pieces.into_iter().filter(|piece| piece.iter().any(|span| !span.content.is_empty())) {
        let gap = if line.width() > 0 { GAP } else { 0 };
        let left = usize::from(width).saturating_sub(line.width() + gap);
        let is_whole = piece.iter().map(Span::width).sum::<usize>() <= left;
        if !is_whole && gap > 0 && (!cuts || left == 0) {
            break;
        }
        line.push_span(Span::raw(" ".repeat(gap)));
        if !is_whole {
            cut(&mut line, piece, width.into());
            break;
        }
        line.spans.extend(piece);
    }
    line
}

/// Appends what fits; its end shows that there is more.
fn cut<'a>(line: &mut Line<'a>, piece: Vec<Span<'a>>, width: usize) {
    for span in piece {
        let left = width.saturating_sub(line.width());
        if span.width() >= left {
            line.push_span(Span::styled(text::plain(&format!("{}…", span.content), left), span.style));
            return;
        }
        line.push_span(span);
    }
}

/// The mean of the last ten seconds, as for other rates.
fn rate<T: Copy + Into<u64>>(history: &[T]) -> f64 {
    lately(history, 10) as f64 / 10.0
}

/// The sum of the last seconds.
fn lately<T: Copy + Into<u64>>(history: &[T], seconds: usize) -> u64 {
    history[history.len().saturating_sub(seconds)..].iter().map(|&count| count.into()).sum()
}

#[cfg(test)]
mod tests;
