//! Messages of the last three minutes, as bars: to the node, and from it.

use bitcointap::{live::Snapshot, tracepoint::Tracepoint};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Color,
    text::Span,
    widgets::Sparkline,
};

use super::{BOLD, DIM, Shown, pieces, rate};
use crate::screen::text;

/// Seconds of the history.
const HISTORY: usize = 180;
/// With fewer columns bars say nothing.
const LEAST: u16 = 16;

pub fn draw(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    if area.width < LEAST {
        return;
    }
    let Snapshot { history, sight, .. } = shown.snapshot;
    let [inbound, outbound] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let mut graph = |area, what, tracepoint, messages: &[u32], bytes: &[u64], colour| {
        let [title, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        if let Some(why) = sight.why_not(tracepoint) {
            frame.render_widget(Span::styled(format!("{what}: {why}"), DIM), title);
            return;
        }
        let buckets = buckets(messages, shown.snapshot.time as usize, area.width.into());
        let most = messages.iter().copied().max().unwrap_or_default();
        let line = [
            vec![
                Span::styled(format!("{what} "), DIM),
                Span::styled(text::rate(rate(messages)), BOLD),
                Span::raw("/s"),
            ],
            vec![Span::raw(format!("{} B/s", text::rate(rate(bytes))))],
            vec![Span::styled(format!("peak {}", text::count(most.into())), DIM)],
            vec![Span::styled("in 3 min", DIM)],
        ];
        frame.render_widget(pieces(area.width, line), title);
        frame.render_widget(Sparkline::default().data(buckets).style(shown.theme.colour(colour)), bars);
    };
    graph(
        inbound,
        "messages in",
        Tracepoint::NetInboundMessage,
        &history.inbound_messages,
        &history.inbound_bytes,
        Color::Cyan,
    );
    graph(
        outbound,
        "messages out",
        Tracepoint::NetOutboundMessage,
        &history.outbound_messages,
        &history.outbound_bytes,
        Color::Green,
    );
}

/// Means over as many seconds as needed for all of them to fit, the last at the right. Where a mean begins depends on
/// the time. So bars move, but do not change on their way.
fn buckets(history: &[u32], now: usize, width: usize) -> Vec<u64> {
    let seconds = HISTORY.div_ceil(width.max(1));
    // The last complete second came before this one.
    let last = now.saturating_sub(1) / seconds;
    let mut sums = vec![(0_u64, 0_u64); width];
    for (before, &messages) in history.iter().rev().enumerate() {
        let Some(second) = now.checked_sub(before + 1) else { break };
        let Some(place) = (width + second / seconds).checked_sub(last + 1) else { break };
        let (sum, count) = &mut sums[place];
        *sum += u64::from(messages);
        *count += 1;
    }
    sums.into_iter().map(|(sum, count)| sum.checked_div(count).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_means_and_move_without_changing() {
        let history: Vec<u32> = (1..=6).collect();
        // With room for each.
        assert_eq!(buckets(&history, 1_000, 180)[173..], [0, 1, 2, 3, 4, 5, 6]);
        // Three seconds each: up to 995, up to 998, and one more.
        assert_eq!(buckets(&history, 1_000, 60)[57..], [1, 4, 6]);
        assert_eq!(buckets(&[1, 2, 3, 4, 5, 6, 9], 1_001, 60)[57..], [1, 4, 7]);
        assert_eq!(buckets(&[], 0, 5), [0; 5]);
        assert_eq!(buckets(&[7; 180], 0, 0), [0; 0]);
        assert_eq!(buckets(&[7; 180], 1_000, 1), [7]);
        assert_eq!(buckets(&[7; 180], 7, 300).len(), 300);
    }
}
