//! Lines on their way to standard error, which nobody may be reading. In: lines. Out: standard error. A thread waits
//! for it in place of the threads that log.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, SigmaskHow};

/// The largest number of bytes that wait. Those being written come on top.
const MOST: usize = 64 << 10;
/// How long the end waits for the reader.
const PATIENCE: Duration = Duration::from_millis(500);

/// Clones share one queue.
#[derive(Clone, Default)]
pub struct Queue(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// How many lines found no room and have not been reported yet.
    given_up: u64,
    is_writing: bool,
}

impl Queue {
    /// Starts the thread that writes to `place`. Once `place` reads again, `tell` reports how many lines were dropped.
    pub fn start(&self, place: impl Write + Send + 'static, tell: fn(u64)) -> io::Result<()> {
        let writes = self.clone();
        // Other threads handle signals. A signal that stops the process would stop it through this thread.
        let signals = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let thread = thread::Builder::new().name("log".into()).spawn(move || {
            bitcointap::privileges::drop_all_of_thread();
            writes.write_on(place, tell);
        });
        signals.thread_set_mask()?;
        thread.map(drop)
    }

    /// Never waits.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > MOST {
            state.given_up += 1;
        } else {
            state.lines.extend_from_slice(line);
            self.changed().notify_all();
        }
    }

    /// Waits for a while until everything is written. Returns false if it is not.
    pub fn flush(&self) -> bool {
        let is_left = |state: &mut State| state.is_writing || !state.lines.is_empty() || state.given_up > 0;
        let result = self.changed().wait_timeout_while(self.state(), PATIENCE, is_left);
        !result.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn write_on(&self, mut place: impl Write, tell: fn(u64)) {
        let mut lines = Vec::new();
        loop {
            let is_idle = |state: &mut State| state.lines.is_empty();
            let result = self.changed().wait_while(self.state(), is_idle);
            let mut state = result.unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut state.lines, &mut lines);
            state.is_writing = true;
            drop(state);
            // A line that cannot be written there has no other place.
            let _ = place.write_all(&lines);
            lines.clear();
            let given_up = mem::take(&mut self.state().given_up);
            if given_up > 0 {
                tell(given_up);
            }
            self.state().is_writing = false;
            self.changed().notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) -> &Condvar {
        &self.0.1
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::net::UnixStream,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
    };

    use super::*;

    #[test]
    fn lines_from_before_there_is_a_thread_wait_for_it() {
        let (place, mut reader) = UnixStream::pair().unwrap();
        let queue = Queue::default();
        queue.push(b"early\n");
        // `tell` may log something itself, and must not wait for what it writes to.
        queue.start(place, |_| ()).unwrap();
        assert!(queue.flush());
        let mut line = [0; 6];
        reader.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"early\n");
    }

    static TOLD: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn lines_wait_for_a_reader_as_far_as_there_is_room_and_the_others_are_told() {
        let (place, mut reader) = UnixStream::pair().unwrap();
        let queue = Queue::default();
        queue.start(place, |lines| _ = TOLD.fetch_add(lines, SeqCst)).unwrap();
        queue.push(b"first\n");
        assert!(queue.flush());
        // Until the socket accepts no more, and then more than the queue holds.
        let line = [b'x'; 1024];
        let mut pushed = 0;
        let mut push = |count: usize| {
            (0..count).for_each(|_| queue.push(&line));
            pushed += count as u64;
        };
        push(MOST / line.len());
        while queue.flush() {
            push(MOST / line.len());
        }
        push(2 * MOST / line.len());
        assert!(!queue.flush(), "nobody reads");

        reader.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut read = 0;
        let mut bytes = vec![0; 1 << 16];
        while TOLD.load(SeqCst) == 0 || !queue.flush() {
            // Nothing may have come yet.
            read += reader.read(&mut bytes).unwrap_or(0);
        }
        while let Ok(more) = reader.read(&mut bytes) {
            read += more;
        }
        let whole = (read - b"first\n".len()) as u64 / line.len() as u64;
        assert_eq!(whole + TOLD.load(SeqCst), pushed);
    }
}
