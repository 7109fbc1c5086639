//! The terminal: taken over while this job has it, and restored however the program ends. In: what to draw. Out: that
//! on the screen; keys.

use std::{
    env,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    ops::ControlFlow,
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
    layout::{Position, Rect},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    stdio::stdin,
};

use super::jobs::is_in_foreground;

/// About how many bytes a screen takes when everything changes.
const SCREEN_BYTES: usize = 1 << 16;

/// Checks that there is a terminal to draw on and to read keys from.
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

/// The terminal, taken over or not.
pub struct Terminal {
    ratatui: Ratatui<CrosstermBackend<BufWriter<Stdout>>>,
    is_taken: bool,
    /// Others may have changed it in the meantime.
    is_doubtful: bool,
}

/// Whether the program can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The screen is as it was drawn last.
    Still,
    /// The screen is empty.
    Anew,
    /// Another job has the terminal.
    Not,
}

impl Terminal {
    pub fn new() -> io::Result<Self> {
        let writer = BufWriter::with_capacity(SCREEN_BYTES, io::stdout());
        let ratatui = Ratatui::new(CrosstermBackend::new(writer))?;
        Ok(Self { ratatui, is_taken: false, is_doubtful: false })
    }

    /// Takes the terminal over if this job has it and that is not done yet. Changing the terminal of another job would
    /// stop this one.
    pub fn take(&mut self) -> io::Result<Held> {
        if !is_in_foreground() {
            self.is_doubtful = true;
            return Ok(Held::Not);
        }
        if self.is_taken && !self.is_doubtful {
            return Ok(Held::Still);
        }
        // From here on it is given back, even if it is only half taken over.
        (self.is_taken, self.is_doubtful) = (true, false);
        // crossterm would believe that the mode is as it left it.
        disable_raw_mode()?;
        enable_raw_mode()?;
        execute!(self.ratatui.backend_mut(), EnterAlternateScreen)?;
        // Unlike `clear`, this asks the terminal nothing; it may not answer.
        let size = self.ratatui.size()?;
        self.ratatui.resize(Rect::from((Position::ORIGIN, size)))?;
        Ok(Held::Anew)
    }

    /// Takes everything over again: the process was stopped without having given the terminal back.
    pub fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Restores the terminal, unless another job has it.
    pub fn give_back(&mut self) {
        if std::mem::take(&mut self.is_taken) && is_in_foreground() {
            // The terminal may be gone, or nobody may read what is written to it.
            let _ = disable_raw_mode();
            let backend = self.ratatui.backend_mut();
            let _ = execute!(backend, LeaveAlternateScreen, Show);
            let _ = backend.flush();
        }
    }

    pub fn draw(&mut self, anew: bool, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if anew {
            self.ratatui.clear()?;
        }
        self.ratatui.draw(render).map(drop)
    }

    /// Whether its size has changed since the last drawing.
    pub fn is_resized(&mut self) -> bool {
        let size = ratatui::crossterm::terminal::size().ok();
        let drawn = self.ratatui.current_buffer_mut().area;
        size.is_some_and(|size| size != (drawn.width, drawn.height))
    }

    /// Waits for keys; `None` when the terminal is gone.
    pub fn keys(&self, timeout: Duration) -> io::Result<Option<Vec<KeyEvent>>> {
        // crossterm would go on reading for ever from a terminal that is gone.
        if wait(PollFlags::IN, timeout)?.is_break() {
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
        self.give_back();
    }
}

/// Waits while another job has the terminal; breaks when the terminal is gone.
pub fn wait_without_keys(timeout: Duration) -> io::Result<ControlFlow<()>> {
    wait(PollFlags::empty(), timeout)
}

fn wait(what: PollFlags, timeout: Duration) -> io::Result<ControlFlow<()>> {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    let mut input = [PollFd::from_borrowed_fd(stdin(), what)];
    match poll(&mut input, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_gone = input[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    Ok(if is_gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// Restores as much as possible while another thread draws and does not end.
pub fn give_back_mode() {
    if is_in_foreground() {
        let _ = disable_raw_mode();
    }
}
