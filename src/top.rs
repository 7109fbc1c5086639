//! `top`: what the node does just now, in a terminal. In: events, to one state of the library ([`Live`]), and keys. Out: a screen,
//! drawn by a thread of its own, so that no drawing keeps events waiting.

mod screen;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod widgets;

use std::{
    io::{self, IsTerminal},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bitcointap::{
    live::Live,
    tap::{Batch, Counted, Run},
};

pub use self::view::Column;
use self::{screen::Screen, view::View};
use crate::{
    cli::TopArgs,
    follow::{End, Sink},
    run::{Result, Source},
    stop::Stop,
};

/// `top`, until q, a signal, or the end of a recording's reader.
pub fn top(args: &TopArgs) -> Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err("top shows a screen, which takes a terminal: `bitcointap tap` writes lines".into());
    }
    let options = args.options();
    let source = Source::open(&args.replay, &args.node, &options)?;
    let stop = Stop::on_signals(args.duration)?;
    let live = Arc::new(Mutex::new(Live::new(options.selection.tracepoints(), false)));
    let screen = Screen::start(Arc::clone(&live), View::new(args.sort), args.interval, stop.requester()?)?;
    let mut feed = Feed { live, replays: args.replay.file.is_some() };
    let result = source.feed(&options, &stop, true, args.drop_capabilities(), &mut feed);
    // What a recording ends with, or the last run of a node, can be looked at until somebody quits.
    while result.is_ok() && !stop.wait(crate::run::IDLE_INTERVAL) && !stop.requested() {
        feed.tick();
    }
    screen.end();
    result
}

/// Feeds the state.
struct Feed {
    live: Arc<Mutex<Live>>,
    /// Then the time is that of the recording.
    replays: bool,
}

impl Feed {
    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    fn tick(&self) {
        if !self.replays {
            let (time, moment) = bitcointap::tap::now();
            self.live().at(time, moment);
        }
    }
}

impl Sink for Feed {
    fn attached(&mut self, run: &Run) -> Result<()> {
        self.tick();
        self.live().attached(run);
        Ok(())
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        let mut live = self.live();
        live.batch(batch);
        batch.each(|event| live.observe(&event));
        Ok(ControlFlow::Continue(()))
    }

    fn unread(&mut self, _: &Batch) {}

    fn ended(&mut self, counted: &Counted, end: End) -> Result<()> {
        self.live().detached(
            &counted.counters,
            match end {
                End::NodeEnded => "the node has ended",
                End::Requested | End::Done => "stopping",
            },
        );
        Ok(())
    }

    fn idle(&mut self) -> ControlFlow<()> {
        self.tick();
        ControlFlow::Continue(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
