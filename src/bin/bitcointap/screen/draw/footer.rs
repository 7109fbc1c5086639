//! The last lines: the log, which peers are shown, keys. On demand, a list of all keys covers the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{BOLD, DIM, REVERSED, Shown, Theme, pieces};
use crate::screen::{
    keys::{HELP, View},
    peers::Column,
    text,
};

const KEYS: [(&str, &str); 8] = [
    ("q", "quit"),
    ("?", "help"),
    ("<>", "sort"),
    ("r", "reverse"),
    ("/", "filter"),
    ("p", "pause"),
    ("Tab", "pane"),
    ("PgDn", "scroll"),
];

pub fn log(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    // The time of the line does not matter here.
    let line = shown.log.unwrap_or_default().trim_end();
    let line = line.split_once("level=").map_or(line, |(_, rest)| rest);
    frame.render_widget(Line::styled(text::plain(line, area.width.into()), DIM), area);
}

pub fn keys(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, view: &View, listed: usize) {
    let all = shown.snapshot.peers.len();
    let mut line = Vec::new();
    if view.types_filter {
        let typed = format!("filter: {}_", text::plain(&view.filter, usize::MAX));
        line.push(vec![Span::styled(typed, REVERSED)]);
        line.push(vec![Span::raw(format!("{listed} of {all}"))]);
        line.push(vec![Span::styled("Enter keeps it, Esc clears it", DIM)]);
    } else {
        let last = (view.scrolled + view.page).min(listed);
        let range = if listed == 0 { "0".to_owned() } else { format!("{}-{last}", view.scrolled + 1) };
        line.push(vec![Span::styled(format!("{range} of {listed}"), BOLD)]);
        if !view.filter.is_empty() {
            let filter = format!(" with {} ", text::plain(&view.filter, 20));
            line.push(vec![Span::styled(filter, REVERSED)]);
        }
        line.extend(KEYS.map(|(key, what)| vec![Span::styled(key, BOLD), Span::raw(format!(" {what}"))]));
    }
    frame.render_widget(pieces(area.width, line), area);
}

pub fn help(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let mut lines: Vec<Line<'_>> = HELP.iter().map(|&(keys, what)| help_line(keys, what)).collect();
    lines.push(Line::styled(" Columns of the peers", REVERSED));
    lines.extend(Column::ALL.map(|column| help_line(column.title(), column.meaning())));
    let width = lines.iter().map(Line::width).max().unwrap_or_default() as u16 + 4;
    let area = area.centered(Constraint::Max(width), Constraint::Max(lines.len() as u16 + 2));
    let block =
        Block::bordered().title(" keys ").title_style(BOLD).border_style(theme.colour(ratatui::style::Color::Cyan));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn help_line(term: &'static str, what: &'static str) -> Line<'static> {
    Line::from(vec![Span::styled(format!(" {term:<25}"), BOLD), Span::raw(what)])
}
