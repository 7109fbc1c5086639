//! `top`: what a node does, in a terminal. In: runs of a node, batches, ends; keys. Out: a screen that is drawn again and again.
//!
//! The thread of the events keeps the state and nothing else; a thread of its own, without capabilities, takes a snapshot of it
//! now and then, draws that, and listens to keys. Neither a key nor a slow terminal makes events wait.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use bitcointap::{
    capture::{self, Batch, Counted, Run},
    live::{Live, Snapshot},
    privileges,
    tracepoint::Tracepoints,
};

use crate::{
    arguments::TopArgs,
    follow::{End, IDLE_INTERVAL, Sink},
    log::{self, Holding},
    result::Result,
    screen::{
        draw::{self, Shown, Theme},
        jobs::{Jobs, Who},
        keys::View,
        terminal::{self, Held, Terminal},
    },
    source::Source,
    stop::{Requester, Stop},
};

/// How often it is looked whether it is over, and the size another.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a terminal that takes nothing is waited for at the end.
const PATIENCE: Duration = Duration::from_millis(600);

/// `top`, until q, a signal, or the end of the time that was given.
pub fn top(args: &TopArgs) -> Result<()> {
    terminal::check()?;
    let jobs = Jobs::begin()?;
    let options = args.options();
    let source = Source::open(&args.replay, &args.node, &options)?;
    let replays = matches!(source, Source::Recording(_));
    if !replays {
        privileges::check()?;
    }
    let stop = Stop::on_signals_and_hangup(args.duration)?;
    let wanted = options.selection.tracepoints();
    let view = View::new(args.sort);
    let mut screen = Screen::start(wanted, view, args.interval, replays, jobs, stop.requester()?)?;
    let result = source.feed(&options, &stop, true, args.drop_capabilities(), &mut screen);
    if result.is_ok() {
        screen.nothing_more();
    }
    // What there was last can be looked at on.
    while result.is_ok() && !stop.requested() {
        stop.wait(stop.at_most(IDLE_INTERVAL));
    }
    screen.finish(result)
}

/// What both threads know.
struct Shared {
    live: Mutex<Live>,
    /// Why no node is attached to for good.
    ended: Mutex<Option<&'static str>>,
    is_over: AtomicBool,
}

/// The screen, from its start to its end. The log is held as long.
struct Screen {
    shared: Arc<Shared>,
    drawn: Receiver<io::Result<()>>,
    /// Of a recording, whose time is its own.
    replays: bool,
    _holding: Holding,
}

impl Screen {
    /// Begins to draw; `stop` is requested when that ends.
    fn start(
        wanted: Tracepoints,
        view: View,
        interval: Duration,
        replays: bool,
        jobs: Jobs,
        stop: Requester,
    ) -> io::Result<Self> {
        let mut live = Live::new(wanted, false);
        if replays {
            live = live.of_recording();
        } else {
            let (time, moment) = capture::now();
            live.at(time, moment);
        }
        let shared =
            Arc::new(Shared { live: Mutex::new(live), ended: Mutex::new(None), is_over: AtomicBool::new(false) });
        let (tell, drawn) = channel();
        log::hold_panics();
        let holding = Holding::begin();
        let watch = Watch { shared: Arc::clone(&shared), view, interval, replays, jobs };
        thread::Builder::new().name("screen".into()).spawn(move || {
            privileges::drop_all_of_thread();
            // It stops all when it is dropped, also when this panics.
            let _stop = stop;
            let tell: Sender<_> = tell;
            let result = watch.run();
            let _ = tell.send(result);
        })?;
        Ok(Self { shared, drawn, replays, _holding: holding })
    }

    /// No more comes, and that is looked at on.
    fn nothing_more(&self) {
        let why = if self.replays { "the recording has ended" } else { "the node has ended, nothing follows" };
        *lock(&self.shared.ended) = Some(why);
    }

    /// Ends it, and tells how it ended.
    fn finish(mut self, result: Result<()>) -> Result<()> {
        let drawn = self.end();
        result?;
        drawn.map_err(|error| format!("cannot draw on the terminal: {error}").into())
    }

    fn end(&mut self) -> io::Result<()> {
        self.shared.is_over.store(true, Relaxed);
        match self.drawn.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                terminal::give_back_mode();
                Ok(())
            }
            // The log says why.
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("its thread has ended")),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.shared.live)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After `finish` it has told already, and there is nothing to wait for.
        let _ = self.end();
    }
}

impl Sink for Screen {
    fn attached(&mut self, run: &Run) -> Result<()> {
        self.live().attached(run);
        Ok(())
    }

    fn waits(&mut self, why: &str) {
        self.live().waits(why);
    }

    fn take(&mut self, batch: &Arc<Batch>) -> Result<ControlFlow<()>> {
        let mut live = self.live();
        live.batch(batch);
        batch.each(|event| live.observe(&event));
        Ok(ControlFlow::Continue(()))
    }

    fn unread(&mut self, _: &Batch) {
        // Time is up.
    }

    fn ended(&mut self, counted: &Counted, end: End) -> Result<()> {
        self.live().detached(&counted.counters, end.why_not_attached());
        Ok(())
    }

    fn idle(&mut self) -> ControlFlow<()> {
        if !self.replays {
            let (time, moment) = capture::now();
            self.live().at(time, moment);
        }
        ControlFlow::Continue(())
    }
}

/// The thread that draws.
struct Watch {
    shared: Arc<Shared>,
    view: View,
    interval: Duration,
    replays: bool,
    jobs: Jobs,
}

impl Watch {
    fn run(mut self) -> io::Result<()> {
        let mut terminal = Terminal::new()?;
        let theme = Theme { has_colours: terminal::has_colours() };
        let mut snapshot = self.snapshot();
        let mut taken = Instant::now();
        let mut is_stale = true;
        while !self.shared.is_over.load(Relaxed) {
            self.stop_if_asked(&mut terminal)?;
            match terminal.take()? {
                Held::Still => {}
                Held::Anew => is_stale = true,
                Held::Not if terminal::wait_without_keys(LOOK_INTERVAL)?.is_break() => return Ok(()),
                Held::Not => continue,
            }
            if taken.elapsed() >= self.interval {
                taken = Instant::now();
                // Also when it is paused: the log, and what is waited for.
                is_stale = true;
                if !self.view.paused {
                    snapshot = self.snapshot();
                }
            }
            if is_stale {
                let log = Holding::last();
                let ended = *lock(&self.shared.ended);
                let shown = Shown { snapshot: &snapshot, ended, replays: self.replays, log: log.as_deref(), theme };
                let anew = std::mem::take(&mut self.view.anew);
                terminal.draw(anew, |frame| draw::draw(frame, &shown, &mut self.view))?;
            }
            let left = self.interval.saturating_sub(taken.elapsed());
            let Some(keys) = terminal.keys(left.min(LOOK_INTERVAL))? else { return Ok(()) };
            is_stale = !keys.is_empty() || terminal.is_resized();
            if keys.into_iter().any(|key| self.view.press(key).is_break()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// As a job of a shell. What comes meanwhile waits in the ring buffer, or is told as lost.
    fn stop_if_asked(&mut self, terminal: &mut Terminal) -> io::Result<()> {
        let who = match self.jobs.is_asked_to_stop()? {
            true => Some(Who::ThisProcess),
            false => std::mem::take(&mut self.view.stops).then_some(Who::Job),
        };
        if let Some(who) = who {
            terminal.give_back();
            self.jobs.stop(who)?;
        }
        if self.jobs.has_continued() {
            terminal.doubt();
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        lock(&self.shared.live).snapshot()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
