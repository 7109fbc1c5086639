//! Which of the processes that run a node's program is the node. `bitcoind -daemon` starts a second process and ends.
//! `-daemonwait` waits until that one is ready. For a moment a node starts other processes that run its program until
//! they become another one (`-blocknotify`). In: processes. Out: the nodes among them.
//!
//! Bitcoin Core's node locks its data directory for as long as it runs, before it starts its threads and before it
//! fires any tracepoint. Processes that it starts do not hold the lock.

use std::{collections::BTreeSet, thread, time::Duration};

use procfs::{Current, LockKind, LockType, Uptime, process::Process};

use super::{executable, file_id, seconds_of};

/// A process without the lock counts as a node if it has several threads and has run for this many seconds.
const THREADS_AGE: f64 = 2.0;
/// One with a single thread, as a process that starts a node has, must have run for this many seconds.
const AGE: f64 = 10.0;
/// A process that starts a node also holds the lock for a moment, to see whether it is free.
const CONFIRMATION: Duration = Duration::from_millis(5);

/// The nodes among some processes, and the first one that may become a node.
pub(super) struct Settled {
    pub nodes: Vec<Process>,
    pub starting: Option<i32>,
}

/// Looks at them.
pub(super) fn among(processes: Vec<Process>) -> Settled {
    let mut holders = holders();
    let uptime = Uptime::current().map_or(f64::INFINITY, |uptime| uptime.uptime);
    let mut seen: Vec<Seen> = Vec::new();
    let mut kept = Vec::new();
    for process in processes {
        let Ok(stat) = process.stat() else { continue };
        let age = uptime - seconds_of(stat.starttime);
        let (pid, threads) = (process.pid(), stat.num_threads);
        seen.push(Seen { pid, program: program(&process, stat.comm), holds: holders.contains(&pid), threads, age });
        kept.push(process);
    }
    if seen.iter().any(|it| it.holds && it.age < THREADS_AGE) {
        thread::sleep(CONFIRMATION);
        holders = holders.intersection(&self::holders()).copied().collect();
        seen.iter_mut().for_each(|it| it.holds &= holders.contains(&it.pid));
    }
    let (nodes, starting) = choose(&seen);
    Settled { nodes: kept.into_iter().filter(|process| nodes.contains(&process.pid())).collect(), starting }
}

/// What identifies a program: its file, or for another user's process its name.
fn program(process: &Process, name: String) -> Program {
    file_id(&executable(process.pid())).map_err(|_| name)
}

type Program = Result<(u64, u64), String>;

/// What can be seen of a process.
struct Seen {
    pid: i32,
    program: Program,
    /// Whether it holds the lock of a whole file.
    holds: bool,
    threads: i64,
    /// Seconds since its start.
    age: f64,
}

fn choose(seen: &[Seen]) -> (BTreeSet<i32>, Option<i32>) {
    let holds = |it: &&Seen| it.holds;
    let mut nodes: BTreeSet<i32> = seen.iter().filter(holds).map(|it| it.pid).collect();
    // If a process holds the lock, no other process of its program counts without it.
    let without: Vec<&Seen> =
        seen.iter().filter(|it| !seen.iter().filter(holds).any(|holder| holder.program == it.program)).collect();
    let is_taken = |it: &&&Seen| it.age >= if it.threads > 1 { THREADS_AGE } else { AGE };
    nodes.extend(without.iter().filter(is_taken).map(|it| it.pid));
    let starting = without.iter().find(|it| !nodes.contains(&it.pid)).map(|it| it.pid);
    (nodes, starting)
}

/// The processes that hold a lock of a whole file as Bitcoin Core takes it (fcntl). None if /proc does not show locks.
fn holders() -> BTreeSet<i32> {
    let locks = procfs::locks().unwrap_or_default();
    let is_whole = |lock: &procfs::Lock| lock.offset_first == 0 && lock.offset_last.is_none();
    let is_exclusive =
        |lock: &procfs::Lock| matches!((&lock.lock_type, &lock.kind), (LockType::Posix, LockKind::Write));
    locks.into_iter().filter(|lock| is_exclusive(lock) && is_whole(lock)).filter_map(|lock| lock.pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From pid, lock, threads and age of processes: the nodes, and one that may become a node.
    fn chosen(seen: &[(i32, &str, bool, i64, f64)]) -> (Vec<i32>, Option<i32>) {
        let seen: Vec<Seen> = seen
            .iter()
            .map(|&(pid, program, holds, threads, age)| Seen { pid, program: Err(program.into()), holds, threads, age })
            .collect();
        let (nodes, starting) = choose(&seen);
        (nodes.into_iter().collect(), starting)
    }

    #[test]
    fn the_holder_of_the_lock_is_the_node() {
        // Just started; the process that starts it waits; it starts another for a moment.
        assert_eq!(chosen(&[(7, "a", true, 1, 0.1)]), (vec![7], None));
        assert_eq!(chosen(&[(6, "a", false, 1, 60.0), (7, "a", true, 20, 59.0)]), (vec![7], None));
        assert_eq!(chosen(&[(7, "a", true, 20, 59.0), (8, "a", false, 1, 0.0)]), (vec![7], None));
        assert_eq!(chosen(&[(7, "a", true, 20, 59.0), (9, "a", true, 20, 3.0)]), (vec![7, 9], None));
        // A second node of that program starts, and one of another program.
        assert_eq!(chosen(&[(7, "a", true, 20, 59.0), (9, "a", false, 20, 3.0)]), (vec![7], None));
        assert_eq!(chosen(&[(7, "a", true, 20, 59.0), (9, "b", false, 1, 3.0)]), (vec![7], Some(9)));
    }

    #[test]
    fn without_a_lock_threads_and_age_tell() {
        assert_eq!(chosen(&[(7, "a", false, 1, 0.1)]), (vec![], Some(7)));
        assert_eq!(chosen(&[(7, "a", false, 2, 1.9)]), (vec![], Some(7)));
        assert_eq!(chosen(&[(7, "a", false, 2, 2.0)]), (vec![7], None));
        assert_eq!(chosen(&[(7, "a", false, 1, 9.0)]), (vec![], Some(7)));
        assert_eq!(chosen(&[(7, "a", false, 1, 10.0)]), (vec![7], None));
        // The process that starts it has one thread.
        assert_eq!(chosen(&[(6, "a", false, 1, 9.0), (7, "a", false, 9, 8.0)]), (vec![7], Some(6)));
        assert_eq!(chosen(&[]), (vec![], None));
    }
}
