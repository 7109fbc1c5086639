//! Fires one tracepoint again and again, and nothing else. In: lines, `message COMMAND SIZE COUNT` or `coin COUNT`.
//! Out: for each line the mean nanoseconds of a hit.
//!
//! Events that fill a ring buffer faster than any reader empties it are fired in bursts, with pauses that do not count:
//! a hit with a lost record would cost less.

use std::{
    ffi::CString,
    io::{self, BufRead},
    thread,
    time::{Duration, Instant},
};

use bitcointap::tap::DRAIN_INTERVAL;
use rustix::thread::{CpuSet, sched_setaffinity};
use simnode::Probes;

unsafe extern "C" {
    fn simnode_probes() -> &'static Probes;
}

fn main() {
    // The reader is on another.
    let mut first = CpuSet::new();
    first.set(0);
    let _ = sched_setaffinity(None, &first);
    // SAFETY: the build links the object of simnode's probes.c into this executable, whose function of this name returns the
    // address of a constant with the layout of `Probes`.
    let probes = unsafe { simnode_probes() };
    for line in io::stdin().lock().lines() {
        let line = line.expect("lines are text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let nanoseconds = match words[..] {
            ["message", command, size, count] => message(probes, command, number(size), number(count)),
            ["coin", count] => coin(probes, number(count)),
            _ => panic!("what is {line:?}?"),
        };
        println!("{nanoseconds}");
    }
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn message(probes: &Probes, command: &str, size: usize, count: usize) -> f64 {
    let inbound_message = probes.inbound_message.expect("the newest layout has it");
    let (address, connection_type) = (c"203.0.113.77:8333", c"outbound-full-relay");
    let command = CString::new(command).expect("no zero");
    let payload = vec![7; size];
    each(count, size, || {
        // SAFETY: all pointers are valid during the call, and the texts end with a zero.
        unsafe {
            inbound_message(
                7,
                address.as_ptr(),
                connection_type.as_ptr(),
                command.as_ptr(),
                payload.len(),
                payload.as_ptr(),
            );
        }
    })
}

fn coin(probes: &Probes, count: usize) -> f64 {
    let utxocache_add = probes.utxocache_add.expect("the newest layout has it");
    let txid = [7; 32];
    // SAFETY: the pointer is valid during the call.
    each(count, 0, || unsafe { utxocache_add(txid.as_ptr(), 1, 900_000, 5_000, false) })
}

/// Bytes of a burst: a quarter of the smallest ring buffer.
const BURST: usize = 2 << 20;
/// With payloads below this size a reader keeps up with any number of events.
const LARGE: usize = 10_000;

fn each(count: usize, bytes: usize, fire: impl Fn()) -> f64 {
    let burst = if bytes < LARGE { count } else { (BURST / bytes).max(1) };
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let now = burst.min(left);
        let start = Instant::now();
        for _ in 0..now {
            fire();
        }
        took += start.elapsed();
        left -= now;
        if left > 0 {
            thread::sleep(DRAIN_INTERVAL);
        }
    }
    took.as_nanos() as f64 / count as f64
}
