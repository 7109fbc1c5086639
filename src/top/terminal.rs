//! The terminal: taken over, and given back as it was, however it ends. In: what to draw. Out: that on the screen; keys.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    time::Duration,
};

use ratatui::{
    Frame, Terminal as Ratatui,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyEvent, KeyEventKind},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    stdio::stdin,
};

/// What a screen takes in bytes when all of it changes, about.
const SCREEN_BYTES: usize = 1 << 16;

/// Whether there is one to draw on and to be told keys by.
pub fn check() -> Result<(), String> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err("top needs a terminal on standard input and output; `bitcointap tap` and `export` do not".into());
    }
    match env::var_os("TERM") {
        Some(term) if term == "dumb" => {
            Err("top needs a terminal that can place text, and TERM=dumb says that this one cannot".into())
        }
        Some(term) if !term.is_empty() => Ok(()),
        _ => Err("top needs TERM in the environment, which names the terminal's kind, such as xterm-256color".into()),
    }
}

/// Whether colours are welcome (https://no-color.org).
pub fn has_colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal, while it is taken.
pub struct Terminal {
    ratatui: Ratatui<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Terminal {
    pub fn take() -> io::Result<Self> {
        let writer = BufWriter::with_capacity(SCREEN_BYTES, io::stdout());
        let mut terminal = Self { ratatui: Ratatui::new(CrosstermBackend::new(writer))? };
        // From here on it is given back, if only half taken.
        enable_raw_mode()?;
        execute!(terminal.ratatui.backend_mut(), EnterAlternateScreen)?;
        Ok(terminal)
    }

    pub fn draw(&mut self, anew: bool, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if anew {
            self.ratatui.clear()?;
        }
        self.ratatui.draw(render).map(drop)
    }

    /// Whether it has another size than what was drawn.
    pub fn is_resized(&mut self) -> bool {
        let size = ratatui::crossterm::terminal::size().ok();
        let drawn = self.ratatui.current_buffer_mut().area;
        size.is_some_and(|size| size != (drawn.width, drawn.height))
    }

    /// Waits for keys; `None` when the terminal is gone.
    pub fn keys(&self, timeout: Duration) -> io::Result<Option<Vec<KeyEvent>>> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut input = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        match poll(&mut input, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // crossterm would read on for ever from one that is gone.
        if input[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                keys.push(key);
            }
        }
        Ok(Some(keys))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may be gone, or nobody may read what is written to it.
        give_back_mode();
        let backend = self.ratatui.backend_mut();
        let _ = execute!(backend, LeaveAlternateScreen, Show);
        let _ = backend.flush();
    }
}

/// As much as can be given back while somebody else draws and does not come to an end.
pub fn give_back_mode() {
    let _ = disable_raw_mode();
}
