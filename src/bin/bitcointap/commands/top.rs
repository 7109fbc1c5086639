//! `top`: shows in a terminal what a node does. In: events of a node or a recording, and keys. Out: a screen that is redrawn.
//!
//! The thread that drains events only updates the state. Another thread, without capabilities, takes a snapshot of the state at each
//! interval, draws it, and reads keys. So neither keys nor a slow terminal make events wait.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use bitcointap::{
    capture,
    follow::IDLE_INTERVAL,
    live::{Live, Snapshot},
    output::Outputs,
    privileges,
    stop::Requester,
};

use crate::{
    arguments::TopArgs,
    log::{self, Holding},
    result::Result,
    screen::{
        draw::{self, Shown, Theme},
        jobs::{Jobs, Who},
        keys::View,
        terminal::{self, Held, Terminal},
    },
    signals,
    source::Source,
};

/// How often to check whether to end, and whether the terminal's size has changed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait at the end for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_millis(600);

/// `top`: ends at the key q, at a signal, or after the given time.
pub fn top(args: &TopArgs) -> Result<()> {
    terminal::check()?;
    let jobs = Jobs::begin()?;
    let options = args.options();
    let redactor = args.redact.redactor()?;
    let source = Source::open(&args.replay, &args.subscribe, &args.node, &options, true, args.drop_capabilities())?;
    if source.taps() {
        privileges::check()?;
    }
    let stop = signals::stop_at_hangup_or_after(args.duration)?;
    let mut live = Live::new(options.selection.tracepoints(), false).watched().of(source.origin());
    if source.taps() {
        let (time, moment) = capture::now();
        live.at(time, moment);
    }
    let live = Arc::new(Mutex::new(live));
    let watch = Watch::new(&live, View::new(args.sort), args.interval, jobs);
    let screen = Screen::start(watch, stop.requester()?)?;
    let mut outputs = Outputs::default().redacted_by(redactor).with(live);
    let result = source.feed(&stop, &mut outputs);
    if result.is_ok() {
        outputs.over();
    }
    // The last state stays on the screen.
    while result.is_ok() && !stop.is_due() {
        stop.wait(stop.at_most(IDLE_INTERVAL));
    }
    screen.finish(result)
}

/// The screen, from its start to its end. It holds back the log meanwhile.
struct Screen {
    is_over: Arc<AtomicBool>,
    drawn: Receiver<io::Result<()>>,
    _holding: Holding,
}

impl Screen {
    /// Begins to draw. When drawing ends, it requests to `stop`.
    fn start(watch: Watch, stop: Requester) -> io::Result<Self> {
        let (tell, drawn) = channel();
        log::hold_panics();
        let holding = Holding::begin();
        let is_over = Arc::clone(&watch.is_over);
        thread::Builder::new().name("screen".into()).spawn(move || {
            privileges::drop_all_of_thread();
            // Dropped at the end of this thread, also after a panic: then everything stops.
            let _stop = stop;
            let tell: Sender<_> = tell;
            let result = watch.run();
            let _ = tell.send(result);
        })?;
        Ok(Self { is_over, drawn, _holding: holding })
    }

    /// Ends it. Gives the first error.
    fn finish(mut self, result: Result<()>) -> Result<()> {
        let drawn = self.end();
        result?;
        drawn.map_err(|error| format!("cannot draw on the terminal: {error}").into())
    }

    fn end(&mut self) -> io::Result<()> {
        self.is_over.store(true, Relaxed);
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
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After `finish`, the thread has ended, and this does not wait.
        let _ = self.end();
    }
}

/// The thread that draws.
struct Watch {
    live: Arc<Mutex<Live>>,
    view: View,
    interval: Duration,
    jobs: Jobs,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn new(live: &Arc<Mutex<Live>>, view: View, interval: Duration, jobs: Jobs) -> Self {
        Self { live: Arc::clone(live), view, interval, jobs, is_over: Arc::default() }
    }

    fn run(mut self) -> io::Result<()> {
        let mut terminal = Terminal::new()?;
        let theme = Theme { has_colours: terminal::has_colours() };
        let mut snapshot = self.snapshot();
        let mut taken = Instant::now();
        let mut is_stale = true;
        while !self.is_over.load(Relaxed) {
            self.stop_if_asked(&mut terminal)?;
            match terminal.take()? {
                Held::Still => {}
                Held::Anew => is_stale = true,
                Held::Not if terminal::wait_without_keys(LOOK_INTERVAL)?.is_break() => return Ok(()),
                Held::Not => continue,
            }
            if taken.elapsed() >= self.interval {
                taken = Instant::now();
                // A paused screen is drawn again, too: the log and the reason for waiting may change.
                is_stale = true;
                if !self.view.paused {
                    snapshot = self.snapshot();
                }
            }
            if is_stale {
                let log = Holding::last();
                let ended = self.why_over();
                let replays = snapshot.replay;
                let shown = Shown { snapshot: &snapshot, ended, replays, log: log.as_deref(), theme };
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

    /// Stops as a job of a shell, if asked to. Events that fire meanwhile wait in the ring buffer, or are counted as lost.
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
        self.live().snapshot()
    }

    /// Why nothing more comes. A paused screen shows this, too.
    fn why_over(&self) -> Option<&'static str> {
        let live = self.live();
        let why = if live.is_replay() { "the recording has ended" } else { "the node has ended, nothing follows" };
        live.is_over().then_some(why)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
