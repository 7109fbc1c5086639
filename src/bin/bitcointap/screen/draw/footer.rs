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
    let line = log_words(shown.log.unwrap_or_default().trim_end());
    frame.render_widget(Line::styled(text::plain(&line, area.width.into()), DIM), area);
}

/// What a line of the log says: `level message field=value…`. Its time does not matter here.
fn log_words(line: &str) -> String {
    let Some((_, rest)) = line.split_once("level=") else { return line.to_owned() };
    let Some((before, rest)) = rest.split_once("message=") else { return rest.to_owned() };
    let (message, after) = match rest.strip_prefix('"') {
        None => rest.split_once(' ').unwrap_or((rest, "")),
        Some(quoted) => {
            let is_end = |&(at, _): &(usize, &str)| !quoted[..at].ends_with('\\');
            let end = quoted.match_indices('"').find(is_end).map_or(quoted.len(), |(at, _)| at);
            (&quoted[..end], quoted[end..].trim_start_matches(['"', ' ']))
        }
    };
    let words = [before.trim_end(), &message.replace("\\\"", "\""), after];
    words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("  ")
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

#[cfg(test)]
mod tests {
    use super::log_words;

    #[test]
    fn a_line_of_the_log_is_words() {
        for (line, words) in [
            ("ts=2026 level=warn message=\"events were lost\"", "warn  events were lost"),
            ("ts=2026 level=info fired=3 message=stopped", "info fired=3  stopped"),
            ("ts=2026 level=info message=\"no \\\"x\\\" here\" fired=3 lost=0", "info  no \"x\" here  fired=3 lost=0"),
            ("ts=2026 level=info message=stopped fired=3", "info  stopped  fired=3"),
            ("a panic", "a panic"),
            ("level=info message=\"cut", "info  cut"),
        ] {
            assert_eq!(log_words(line), words);
        }
    }
}
