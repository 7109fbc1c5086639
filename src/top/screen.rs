//! The terminal. In: the state, and keys. Out: the screen, until somebody quits; then the terminal as it was.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bitcointap::{live::Live, privileges};
use ratatui::crossterm::event::{self, Event};

use super::{
    lock,
    view::{Asked, View},
    widgets,
};
use crate::{log, stop::Requester};

/// How often it is looked whether to end.
const LOOK: Duration = Duration::from_millis(100);

pub struct Screen {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Screen {
    pub fn start(live: Arc<Mutex<Live>>, view: View, interval: Duration, stop: Requester) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = thread::Builder::new().name("screen".into()).spawn(move || {
            privileges::drop_all_of_thread();
            let _stops_in_the_end = stop;
            show(&live, view, interval, &until)
        })?;
        Ok(Self { ends, thread })
    }

    /// Gives the terminal back.
    pub fn end(self) {
        self.ends.store(true, Relaxed);
        if let Ok(Err(error)) = self.thread.join() {
            tracing::error!("the terminal cannot be used: {error}");
        }
    }
}

fn show(live: &Mutex<Live>, mut view: View, interval: Duration, until: &AtomicBool) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    log::hold();
    let result = (|| {
        let mut snapshot = lock(live).snapshot();
        let mut taken = Instant::now();
        let mut is_drawn = false;
        while !until.load(Relaxed) {
            if !is_drawn {
                terminal.draw(|frame| widgets::draw(frame, &snapshot, &mut view, log::last_warning().as_deref()))?;
                is_drawn = true;
            }
            if event::poll(interval.saturating_sub(taken.elapsed()).min(LOOK))? {
                is_drawn = false;
                if let Event::Key(key) = event::read()?
                    && view.key(key) == Asked::Quit
                {
                    return Ok(());
                }
            }
            if taken.elapsed() >= interval {
                taken = Instant::now();
                is_drawn = false;
                if !view.paused {
                    snapshot = lock(live).snapshot();
                }
            }
        }
        Ok(())
    })();
    ratatui::restore();
    log::release();
    result
}
