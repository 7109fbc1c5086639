//! While there is no node: why, in full; and what happened before, if a run has ended.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Color,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{BOLD, Shown, happenings};
use crate::screen::{keys::Pane, text};

/// As wide as a text is easy to read.
const WIDTH: u16 = 76;

pub fn draw(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, pane: Pane) {
    let snapshot = shown.snapshot;
    let has_run = [&snapshot.connections, &snapshot.blocks, &snapshot.mempool].iter().any(|it| !it.is_empty());
    let below = if has_run { area.height / 2 } else { 0 };
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    let why = text::plain(snapshot.waiting.as_deref().unwrap_or_default(), usize::MAX);
    let title = Line::styled("waiting for a node", shown.theme.colour(Color::Yellow).patch(BOLD));
    let lines = vec![title, Line::default(), Line::raw(why)];
    let [_, room] = Layout::vertical([Constraint::Length(upper.height / 4), Constraint::Fill(1)]).areas(upper);
    let room = room.centered_horizontally(Constraint::Max(WIDTH));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), room);
    if has_run {
        happenings::tabbed(frame, lower, shown, pane);
    }
}
