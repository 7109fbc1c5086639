//! Peers by network and direction, as `bitcoin-cli -netinfo` has them.

use bitcointap::live::NetworkCount;
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    text::{Line, Text},
    widgets::{Row, Table},
};

use super::{DIM, Shown};

/// The networks, then inbound, outbound and total.
pub const ROWS: u16 = 4;

/// Draws the columns that fit.
pub fn draw(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let networks = &shown.snapshot.networks;
    let sum = |count: fn(&NetworkCount) -> u32| networks.networks.iter().map(count).sum::<u32>();
    let all = NetworkCount::total(sum(|it| it.inbound), sum(|it| it.outbound));
    let counted = networks.networks.iter().chain([&all]);
    let mut columns = vec![["".to_owned(), "in".into(), "out".into(), "total".into()]];
    columns.extend(counted.map(|it| {
        [it.network.to_owned(), it.inbound.to_string(), it.outbound.to_string(), (it.inbound + it.outbound).to_string()]
    }));
    let of_outbound = |name: &str, count: u32| [name.to_owned(), String::new(), count.to_string(), String::new()];
    columns.push(of_outbound("block", networks.block_relay));
    if networks.manual > 0 {
        columns.push(of_outbound("manual", networks.manual));
    }
    let width = |column: &[String; 4]| column.iter().map(String::len).max().unwrap_or_default().max(4) as u16;
    let mut left = area.width + 1;
    columns.retain(|column| {
        let fits = left.checked_sub(width(column) + 1);
        left = fits.unwrap_or_default();
        fits.is_some()
    });
    let rows = (0..usize::from(ROWS)).map(|row| {
        let cells = columns.iter().enumerate().map(|(place, column)| {
            let alignment = if place == 0 { Alignment::Left } else { Alignment::Right };
            Text::from(Line::from(column[row].clone())).alignment(alignment)
        });
        let cells = Row::new(cells);
        if row == 0 { cells.style(DIM) } else { cells }
    });
    let widths = columns.iter().map(|column| Constraint::Length(width(column)));
    frame.render_widget(Table::new(rows, widths).column_spacing(1), area);
}
