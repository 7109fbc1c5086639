//! What the screen shows of all that there is. In: keys. Out: the order of the peers, which of them, and what is laid over.

use bitcointap::live::{Row, Snapshot};
use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The columns of the table of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// The node's number of the peer
    Id,
    /// Address and port
    Address,
    /// What the connection is for
    Type,
    /// How the peer is reached
    Network,
    /// How long it is connected
    Age,
    /// Messages from it in a second
    In,
    /// Messages to it in a second
    Out,
    /// Messages in all
    Messages,
    /// Bytes in all
    Bytes,
    /// Round trip of the last ping
    Ping,
    /// Its software, as it says
    UserAgent,
}

impl Column {
    pub const ALL: [Column; 11] = [
        Column::Id,
        Column::Address,
        Column::Type,
        Column::Network,
        Column::Age,
        Column::In,
        Column::Out,
        Column::Messages,
        Column::Bytes,
        Column::Ping,
        Column::UserAgent,
    ];

    /// Texts begin with the first, numbers with the largest.
    fn is_text(self) -> bool {
        matches!(self, Column::Id | Column::Address | Column::Type | Column::Network | Column::UserAgent)
    }
}

/// What a key asks for beside a change of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Nothing,
    Quit,
}

/// The list beside the peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    Connections,
    Blocks,
    Mempool,
}

#[derive(Debug)]
pub struct View {
    pub sort: Column,
    pub reversed: bool,
    /// Text that peers have; while it is typed, true.
    pub filter: String,
    pub typing: bool,
    pub paused: bool,
    pub help: bool,
    pub pane: Pane,
    /// The first peer that is shown, and how many fit.
    pub first: usize,
    pub page: usize,
}

impl View {
    pub fn new(sort: Column) -> Self {
        Self {
            sort,
            reversed: false,
            filter: String::new(),
            typing: false,
            paused: false,
            help: false,
            pane: Pane::default(),
            first: 0,
            page: 1,
        }
    }

    pub fn key(&mut self, key: KeyEvent) -> Asked {
        if key.kind == KeyEventKind::Release {
            return Asked::Nothing;
        }
        // In raw mode no signal comes of it.
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return Asked::Quit;
        }
        if self.typing {
            self.typed(key.code);
            return Asked::Nothing;
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') { Asked::Quit } else { Asked::Nothing };
        }
        match key.code {
            KeyCode::Char('q') => return Asked::Quit,
            KeyCode::Char('<' | ',') | KeyCode::Left => self.sort_by(-1),
            KeyCode::Char('>' | '.') | KeyCode::Right => self.sort_by(1),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('h' | '?') => self.help = true,
            KeyCode::Tab => {
                self.pane = match self.pane {
                    Pane::Connections => Pane::Blocks,
                    Pane::Blocks => Pane::Mempool,
                    Pane::Mempool => Pane::Connections,
                };
            }
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first += 1,
            KeyCode::PageUp => self.first = self.first.saturating_sub(self.page),
            KeyCode::PageDown => self.first += self.page,
            KeyCode::Home => self.first = 0,
            KeyCode::End => self.first = usize::MAX,
            _ => {}
        }
        Asked::Nothing
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(char) => self.filter.push(char),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
        self.first = 0;
    }

    fn sort_by(&mut self, step: isize) {
        let columns = Column::ALL.len() as isize;
        let next = (self.sort as isize + step).rem_euclid(columns);
        self.sort = Column::ALL[next as usize];
        self.reversed = false;
        self.first = 0;
    }

    /// The peers that are wanted, in order.
    pub fn peers<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a Row> {
        let filter = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&filter);
        let is_wanted = |peer: &&Row| {
            filter.is_empty()
                || has(&peer.id.to_string())
                || has(peer.address.as_deref().unwrap_or_default())
                || has(peer.connection_type)
                || has(peer.network)
                || has(peer.user_agent.as_deref().unwrap_or_default())
        };
        let mut peers: Vec<&Row> = snapshot.peers.iter().filter(is_wanted).collect();
        // Stable: those that are equal stay in the order of their numbers.
        peers.sort_by(|a, b| self.order(a, b));
        peers
    }

    fn order(&self, a: &Row, b: &Row) -> std::cmp::Ordering {
        let by = |value: fn(&Row) -> f64| value(a).total_cmp(&value(b));
        let ascending = match self.sort {
            Column::Id => a.id.cmp(&b.id),
            Column::Address => a.address.cmp(&b.address),
            Column::Type => a.connection_type.cmp(b.connection_type),
            Column::Network => a.network.cmp(b.network),
            Column::UserAgent => a.user_agent.cmp(&b.user_agent),
            // The oldest have the least time.
            Column::Age => by(|peer| -peer.opened.unwrap_or(peer.seen)),
            Column::In => by(|peer| peer.inbound.messages_per_second),
            Column::Out => by(|peer| peer.outbound.messages_per_second),
            Column::Messages => by(|peer| (peer.inbound.messages + peer.outbound.messages) as f64),
            Column::Bytes => by(|peer| (peer.inbound.bytes + peer.outbound.bytes) as f64),
            Column::Ping => by(|peer| peer.ping.unwrap_or(-1.0)),
        };
        if self.sort.is_text() == self.reversed { ascending.reverse() } else { ascending }
    }
}
