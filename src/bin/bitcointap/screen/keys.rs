//! What the reader looks at, and what keys change of it. In: keys. Out: the [`View`], and whether to end.

use std::ops::ControlFlow;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::peers::Column;

/// The longest filter, in characters.
const LONGEST_FILTER: usize = 60;

/// All keys and what they do, for the help.
pub const HELP: [(&str, &str); 9] = [
    ("q  Ctrl-C", "quit"),
    ("↑ ↓  PgUp PgDn  Home End", "scroll the peers (also j k)"),
    ("< >  or ← →,  r", "sort by the next column, reverse the order"),
    ("/", "filter by a text; Enter keeps it, Esc clears it"),
    ("p  Space", "pause; counting goes on"),
    ("Tab", "change the lower pane, if there is one"),
    ("Ctrl-Z", "stop, and go to the shell; fg goes on"),
    ("Ctrl-L", "redraw the screen"),
    ("h  ?", "this help; Esc closes it"),
];

/// What the lower pane shows, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Connections,
    Blocks,
    Mempool,
    Networks,
}

impl Pane {
    pub const ALL: [Pane; 4] = [Pane::Connections, Pane::Blocks, Pane::Mempool, Pane::Networks];

    pub fn title(self) -> &'static str {
        match self {
            Pane::Connections => "connections",
            Pane::Blocks => "blocks",
            Pane::Mempool => "mempool",
            Pane::Networks => "networks",
        }
    }
}

/// How the reader looks at the state.
#[derive(Debug)]
pub struct View {
    pub sort: Column,
    pub reversed: bool,
    pub filter: String,
    /// Whether keys are letters of the filter.
    pub types_filter: bool,
    /// The first peer to show; drawing keeps it within those that exist.
    pub scrolled: usize,
    /// How many peers fit.
    pub page: usize,
    pub paused: bool,
    pub help: bool,
    pub pane: Pane,
    /// Whether to overwrite what others wrote on the screen.
    pub anew: bool,
    /// Whether to give the terminal to the shell.
    pub stops: bool,
}

impl View {
    pub fn new(sort: Column) -> Self {
        Self {
            sort,
            reversed: false,
            filter: String::new(),
            types_filter: false,
            scrolled: 0,
            page: 1,
            paused: false,
            help: false,
            pane: Pane::Connections,
            anew: false,
            stops: false,
        }
    }

    /// Breaks when it is time to end.
    pub fn press(&mut self, key: KeyEvent) -> ControlFlow<()> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return ControlFlow::Break(()),
                KeyCode::Char('l') => self.anew = true,
                KeyCode::Char('z') => self.stops = true,
                _ => {}
            }
            return ControlFlow::Continue(());
        }
        match key.code {
            KeyCode::Up => self.scroll_up(1),
            KeyCode::Down => self.scroll_down(1),
            KeyCode::PageUp => self.scroll_up(self.page),
            KeyCode::PageDown => self.scroll_down(self.page),
            KeyCode::Home => self.scrolled = 0,
            KeyCode::End => self.scrolled = usize::MAX,
            KeyCode::Left => self.sort_beside(false),
            KeyCode::Right => self.sort_beside(true),
            KeyCode::Tab => self.pane = Pane::ALL[(self.pane as usize + 1) % Pane::ALL.len()],
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.types_filter = false;
            }
            _ if self.types_filter => self.type_filter(key.code),
            KeyCode::Char(letter) => return self.letter(letter),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn letter(&mut self, letter: char) -> ControlFlow<()> {
        match letter {
            'q' => return ControlFlow::Break(()),
            'k' => self.scroll_up(1),
            'j' => self.scroll_down(1),
            '<' => self.sort_beside(false),
            '>' => self.sort_beside(true),
            'r' => self.reversed = !self.reversed,
            '/' => (self.types_filter, self.help) = (true, false),
            'p' | ' ' => self.paused = !self.paused,
            'h' | '?' => self.help = !self.help,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) if self.filter.chars().count() < LONGEST_FILTER => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.types_filter = false,
            _ => return,
        }
        self.scrolled = 0;
    }

    fn sort_beside(&mut self, right: bool) {
        self.sort = self.sort.beside(right);
        self.reversed = false;
    }

    fn scroll_up(&mut self, rows: usize) {
        self.scrolled = self.scrolled.saturating_sub(rows);
    }

    fn scroll_down(&mut self, rows: usize) {
        self.scrolled = self.scrolled.saturating_add(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> bool {
        view.press(code.into()).is_break()
    }

    fn type_all(view: &mut View, letters: &str) {
        letters.chars().for_each(|letter| assert!(!press(view, KeyCode::Char(letter)), "{letter}"));
    }

    #[test]
    fn q_and_control_c_end_it_and_nothing_else_does() {
        let mut view = View::new(Column::In);
        let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        assert!(press(&mut view, KeyCode::Char('q')) && view.press(control('c')).is_break());
        assert!(view.press(control('q')).is_continue() && !view.stops);
        assert!(view.press(control('z')).is_continue() && view.stops);
        assert!(!press(&mut view, KeyCode::Esc) && !press(&mut view, KeyCode::Enter));
    }

    #[test]
    fn letters_are_of_the_filter_while_it_is_typed() {
        let mut view = View::new(Column::In);
        type_all(&mut view, "/qrp?");
        assert_eq!((&*view.filter, view.types_filter), ("qrp?", true));
        assert!(!view.reversed && !view.paused && !view.help);
        press(&mut view, KeyCode::Backspace);
        press(&mut view, KeyCode::Enter);
        assert_eq!((&*view.filter, view.types_filter), ("qrp", false));
        type_all(&mut view, "r");
        assert!(view.reversed);
        press(&mut view, KeyCode::Esc);
        assert_eq!(view.filter, "");
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        type_all(&mut view, "/");
        assert!(view.press(control_c).is_break());
        type_all(&mut view, &"x".repeat(LONGEST_FILTER + 9));
        assert_eq!(view.filter.len(), LONGEST_FILTER);
    }

    #[test]
    fn keys_scroll_sort_pause_and_switch() {
        let mut view = View { page: 10, ..View::new(Column::Id) };
        for (code, scrolled) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 11),
            (KeyCode::PageUp, 1),
            (KeyCode::End, usize::MAX),
            (KeyCode::Down, usize::MAX),
            (KeyCode::Home, 0),
        ] {
            press(&mut view, code);
            assert_eq!(view.scrolled, scrolled, "{code}");
        }
        type_all(&mut view, ">r");
        assert_eq!((view.sort, view.reversed), (Column::Address, true));
        press(&mut view, KeyCode::Left);
        assert_eq!((view.sort, view.reversed), (Column::Id, false), "another column has its own order");
        press(&mut view, KeyCode::Tab);
        assert_eq!(view.pane, Pane::Blocks);
        type_all(&mut view, " ?");
        assert!(view.paused && view.help);
        press(&mut view, KeyCode::Esc);
        type_all(&mut view, "p");
        assert!(!view.paused && !view.help);
    }
}
