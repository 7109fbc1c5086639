//! The tables of commands and of peers.

use bitcointap::live::{CommandRow, Row};
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::Style,
    text::{Line, Text},
    widgets::{Row as TableRow, Table},
};

use super::{BOLD, REVERSED, Shown};
use crate::screen::{keys::View, peers::Columns, text};

/// Columns for a command; the first ones are always there.
const COMMAND_COLUMNS: [(&str, u16); 7] =
    [("command", 12), ("in/s", 6), ("out/s", 6), ("B/s", 7), ("B/s in", 7), ("B/s out", 7), ("messages", 8)];

pub fn commands(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let mut commands: Vec<&CommandRow> = shown.snapshot.commands.iter().collect();
    commands.sort_by(|one, other| {
        let by_rate = messages_per_second(other).total_cmp(&messages_per_second(one));
        by_rate.then(messages(other).cmp(&messages(one))).then(one.command.cmp(other.command))
    });
    let mut left = area.width;
    let columns: Vec<_> = COMMAND_COLUMNS
        .into_iter()
        .map_while(|(title, width)| {
            left = (left + 1).checked_sub(width + 1)?.saturating_sub(1);
            Some((title, width))
        })
        .collect();
    let title = columns.iter().enumerate().map(|(place, &(title, _))| cell(title.to_owned(), place == 0));
    let title = TableRow::new(title).style(REVERSED);
    let rows = commands.into_iter().take(area.height.saturating_sub(1).into()).map(|command| {
        let cells = [
            command.command.to_owned(),
            text::rate(command.inbound.messages_per_second),
            text::rate(command.outbound.messages_per_second),
            text::rate(command.inbound.bytes_per_second + command.outbound.bytes_per_second),
            text::rate(command.inbound.bytes_per_second),
            text::rate(command.outbound.bytes_per_second),
            text::count(messages(command)),
        ];
        let cells = cells.into_iter().take(columns.len()).enumerate();
        TableRow::new(cells.map(|(place, text)| cell(text, place == 0)))
    });
    let widths = columns.iter().map(|&(_, width)| Constraint::Length(width));
    frame.render_widget(Table::new(rows, widths).header(title).column_spacing(1), area);
}

fn messages(command: &CommandRow) -> u64 {
    command.inbound.messages.saturating_add(command.outbound.messages)
}

fn messages_per_second(command: &CommandRow) -> f64 {
    command.inbound.messages_per_second + command.outbound.messages_per_second
}

/// The columns that fit, from the one that the reader scrolled to.
pub fn peers(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, view: &mut View, listed: &[&Row]) {
    view.page = usize::from(area.height.saturating_sub(1)).max(1);
    view.scrolled = view.scrolled.min(listed.len().saturating_sub(view.page));
    let columns = Columns::of(area.width, view.sort);
    let title = columns.0.iter().map(|&(column, _)| {
        let mark = match (column == view.sort, view.reversed != column.is_text()) {
            (false, _) => "",
            (true, true) => "▲",
            (true, false) => "▼",
        };
        let style = if column == view.sort { BOLD } else { Style::new() };
        cell(format!("{}{mark}", column.title()), column.is_text()).style(style)
    });
    let title = TableRow::new(title).style(REVERSED);
    let shown_rows = listed.iter().skip(view.scrolled).take(view.page);
    let rows = shown_rows.map(|peer| {
        let cells = columns.cells(peer, shown.snapshot.time).zip(&columns.0);
        let row = TableRow::new(cells.map(|(text, (column, _))| cell(text, column.is_text())));
        if peer.offences > 0 { row.style(shown.theme.alarming()) } else { row }
    });
    let widths = columns.0.iter().map(|&(_, width)| Constraint::Length(width));
    frame.render_widget(Table::new(rows, widths).header(title).column_spacing(1), area);
}

/// Text on the left, numbers on the right.
fn cell(text: String, is_text: bool) -> Text<'static> {
    let alignment = if is_text { Alignment::Left } else { Alignment::Right };
    Text::from(Line::from(text)).alignment(alignment)
}
