//! The clock of events and the wall clock. In: the system's clocks, each setting of the wall clock, and this process' time namespace.
//! Out: what both clocks show now, and the difference between them.
//!
//! The kernel stamps events with the machine's CLOCK_BOOTTIME. A process in a time namespace reads that clock with a shift.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::OnceLock,
};

use rustix::{
    io::Errno,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    },
};

use crate::event::{Moment, Time};

/// The time now, by both clocks of events.
pub fn now() -> (Time, Moment) {
    (Time(unix_ns() as u64), Moment(boot_ns() as u64))
}

/// Converts from the clock of events to the wall clock.
#[derive(Debug)]
pub(crate) struct WallClock {
    offset: Offset,
    /// Readable after the wall clock was set.
    is_set: OwnedFd,
}

impl WallClock {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let is_set = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // The timer never expires. The kernel cancels it when the wall clock is set, and only that matters.
        let never = Timespec { tv_sec: i64::MAX / 1_000_000_000, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: Timespec::default(), it_value: never };
        timerfd_settime(&is_set, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &timer)?;
        let mut offset = Offset::default();
        offset.follow(read);
        Ok(Self { offset, is_set })
    }

    /// UNIX time minus the clock of events, for the events that are drained next.
    pub(crate) fn unix_offset_ns(&mut self) -> i64 {
        // This error reports each setting once.
        if rustix::io::read(&self.is_set, &mut [0; 8]) == Err(Errno::CANCELED) {
            self.offset.set(Moment(boot_ns() as u64));
        }
        self.offset.of_next(read)
    }

    /// To be called after each drain, with its newest event, and whether more events wait.
    pub(crate) fn drained(&mut self, newest: Option<Moment>, more: bool) {
        self.offset.drained(newest, more);
    }
}

impl AsFd for WallClock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.is_set.as_fd()
    }
}

fn read() -> [i64; 3] {
    [boot_ns(), unix_ns(), boot_ns()]
}

/// UNIX time minus the clock of events.
#[derive(Debug, Default)]
struct Offset {
    unix_offset_ns: i64,
    /// When we noticed that the wall clock was set. `None` again once all events that had fired by then are drained.
    set_at: Option<Moment>,
}

impl Offset {
    /// A smaller difference comes from the time between the readings, not from a setting of the clock.
    const JITTER_NS: u64 = 1_000;

    fn set(&mut self, at: Moment) {
        self.set_at = Some(at);
    }

    /// Reads the clocks each time, since the wall clock may be set while we run. Events that fired before keep the offset of then.
    fn of_next(&mut self, read: impl FnMut() -> [i64; 3]) -> i64 {
        if self.set_at.is_some() { self.unix_offset_ns } else { self.follow(read) }
    }

    fn drained(&mut self, newest: Option<Moment>, more: bool) {
        // In a flood the end may never be reached.
        if !more || newest > self.set_at {
            self.set_at = None;
        }
    }

    /// `read` reads the clock of events, the wall clock, and the clock of events again.
    fn follow(&mut self, mut read: impl FnMut() -> [i64; 3]) -> i64 {
        // Takes the narrowest of three: the scheduler may interrupt the thread between the readings.
        let readings = (0..3).map(|_| {
            let [before, unix, after] = read();
            (after - before, unix - before)
        });
        let (width, offset) = readings.min().unwrap_or_default();
        if self.unix_offset_ns.abs_diff(offset) >= Self::JITTER_NS + width.unsigned_abs() {
            self.unix_offset_ns = offset;
        }
        self.unix_offset_ns
    }
}

fn unix_ns() -> i64 {
    nanoseconds(ClockId::Realtime)
}

/// The machine's CLOCK_BOOTTIME, in any time namespace.
fn boot_ns() -> i64 {
    static SHIFT_NS: OnceLock<i64> = OnceLock::new();
    // A process stays in its time namespace, whose shift never changes.
    nanoseconds(ClockId::Boottime) - SHIFT_NS.get_or_init(shift_ns)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// How far CLOCK_BOOTTIME in this process' time namespace is ahead of the machine's.
fn shift_ns() -> i64 {
    read_shift_ns("/proc/self").unwrap_or_else(|error| {
        tracing::warn!("cannot read the time namespace: {error}; if its clocks are shifted, times of events are wrong");
        0
    })
}

/// The link of the time namespace in which the machine starts (PROC_TIME_INIT_INO of linux/proc_ns.h).
const MACHINES_OWN: &str = "time:[4026531834]";

/// `process` is the folder of a process in /proc.
fn read_shift_ns(process: &str) -> io::Result<i64> {
    let link = |name: &str| fs::read_link(format!("{process}/ns/{name}"));
    let own = match link("time") {
        // Linux was built without time namespaces. Or there is no /proc, and then no node is found.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        own => own?,
    };
    if own.as_os_str() == MACHINES_OWN {
        return Ok(0);
    }
    // The file describes the namespace for children. After unshare(2) that is another one, until a fork or, since Linux 6.2, an exec.
    if link("time_for_children")? != own {
        return Err(io::Error::other(
            "/proc tells only the shift of the time namespace for children, which is another one",
        ));
    }
    let offsets = fs::read_to_string(format!("{process}/timens_offsets"))?;
    boottime_of(&offsets).ok_or_else(|| io::Error::other(format!("{process}/timens_offsets has no offset of boottime")))
}

/// Gives nanoseconds. The line has `boottime`, seconds, and nanoseconds to be added to them.
fn boottime_of(offsets: &str) -> Option<i64> {
    let rest = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?;
    let mut numbers = rest.split_whitespace().map(str::parse::<i64>);
    let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Both clocks. Each reading takes time.
    struct Clocks {
        boot: i64,
        unix: i64,
    }

    impl Clocks {
        fn pass(&mut self, time: i64) {
            self.boot += time;
            self.unix += time;
        }

        /// Three readings that together take `width`.
        fn read(&mut self, width: i64) -> [i64; 3] {
            let before = self.boot;
            self.pass(width / 2);
            let unix = self.unix;
            self.pass(width / 2);
            [before, unix, self.boot]
        }

        /// The difference between the time of an event that fires now and the wall clock.
        fn error(&mut self, offset: &mut Offset, width: i64) -> i64 {
            let fired = (self.boot, self.unix);
            fired.0 + offset.of_next(|| self.read(width)) - fired.1
        }
    }

    #[test]
    fn events_have_what_the_wall_clock_shows_after_it_is_set_and_after_a_suspension() {
        let mut clocks = Clocks { boot: 5_000 * SECOND, unix: 1_700_000_000 * SECOND };
        let mut offset = Offset::default();
        for step in [0, 3_600 * SECOND, -86_400 * SECOND, SECOND / 1_000, 0] {
            clocks.unix += step;
            assert!(clocks.error(&mut offset, 100).abs() <= 100, "set by {step}");
            // Both clocks go on while the machine sleeps.
            clocks.pass(30_000 * SECOND);
            assert!(clocks.error(&mut offset, 100).abs() <= 100, "after a suspension");
        }
    }

    #[test]
    fn the_time_that_reading_takes_moves_no_event() {
        let mut clocks = Clocks { boot: 5_000 * SECOND, unix: 1_700_000_000 * SECOND };
        let mut offset = Offset::default();
        let before = offset.follow(|| clocks.read(100));
        // The thread is interrupted in two of three readings.
        let mut widths = [SECOND, 700, SECOND / 10].into_iter().cycle();
        for _ in 0..10 {
            assert_eq!(offset.follow(|| clocks.read(widths.next().unwrap())), before);
        }
        assert_eq!(offset.follow(|| clocks.read(SECOND)), before, "in all three");
    }

    #[test]
    fn what_fired_before_the_wall_clock_was_set_is_told_as_it_was_then() {
        let mut clocks = Clocks { boot: 5_000 * SECOND, unix: 1_700_000_000 * SECOND };
        let mut offset = Offset::default();
        offset.follow(|| clocks.read(100));
        for step in [3_600 * SECOND, -86_400 * SECOND] {
            // It waits in the ring buffer meanwhile.
            let fired = (clocks.boot, clocks.unix);
            clocks.pass(SECOND / 2);
            clocks.unix += step;
            let seen = Moment(clocks.boot as u64);
            offset.set(seen);
            // A full batch, then a batch with an event that fired after we noticed the setting, and then what follows.
            for newest in [fired.0, clocks.boot + 1] {
                let error = fired.0 + offset.of_next(|| clocks.read(100)) - fired.1;
                assert!(error.abs() <= 100, "set by {step}: {error}");
                offset.drained(Some(Moment(newest as u64)), true);
            }
            assert!(clocks.error(&mut offset, 100).abs() <= 100, "after it was set by {step}");
            // The clock is set while no event waits.
            offset.set(seen);
            offset.drained(None, false);
            assert!(clocks.error(&mut offset, 100).abs() <= 100);
        }
    }

    #[test]
    fn a_clock_that_nobody_sets_is_followed() {
        let mut wall_clock = WallClock::new().unwrap();
        let offset = wall_clock.unix_offset_ns();
        let (Time(unix), Moment(boot)) = now();
        assert!((unix as i64 - boot as i64).abs_diff(offset) < SECOND as u64);
        wall_clock.drained(None, false);
    }

    #[test]
    fn the_shift_is_that_of_the_namespace_that_the_process_is_in() {
        let process = tempfile::tempdir().unwrap();
        let path = |name: &str| process.path().join(name);
        let shift = || read_shift_ns(process.path().to_str().unwrap()).map_err(|error| error.to_string());
        assert_eq!(shift(), Ok(0), "no time namespaces in this kernel");
        fs::create_dir(path("ns")).unwrap();
        let enter = |own: &str, for_children: &str| {
            for (name, target) in [("ns/time", own), ("ns/time_for_children", for_children)] {
                let _ = fs::remove_file(path(name));
                symlink(target, path(name)).unwrap();
            }
        };
        enter("time:[4026532177]", "time:[4026532177]");
        assert!(shift().unwrap_err().contains("No such file"));
        for (offsets, expected) in [
            ("monotonic      -7         0\nboottime      500         0\n", Ok(500 * SECOND)),
            ("monotonic           0         0\nboottime         -300 999999999\n", Ok(-299 * SECOND - 1)),
            ("monotonic           0         0\n", Err(())),
            ("boottime 1\n", Err(())),
            ("boottime 9223372036854775807 0\n", Err(())),
        ] {
            fs::write(path("timens_offsets"), offsets).unwrap();
            assert_eq!(shift().map_err(|_| ()), expected, "{offsets}");
        }
        fs::write(path("timens_offsets"), "boottime 500 0\n").unwrap();
        enter(MACHINES_OWN, "time:[4026532177]");
        assert_eq!(shift(), Ok(0), "its children would be shifted, it is not");
        enter("time:[4026532178]", "time:[4026532177]");
        assert!(shift().unwrap_err().contains("for children"));
    }

    #[test]
    fn the_clock_of_events_runs_here_too() {
        let ((time, moment), (later, after)) = (now(), now());
        assert!(later >= time && after >= moment && moment > Moment(0));
        assert!(read_shift_ns("/proc/self").is_ok());
    }
}
