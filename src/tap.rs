//! The tap: attaches the kernel side to a node's tracepoints, drains its records, and accounts for its losses. Only this code knows
//! libbpf. In: a [`Node`] and the wanted tracepoints. Out: [`Batch`]es of events, and [`Counters`].

mod arming;
mod attachment;
mod builder;
mod events;
mod options;
mod overlay;
mod programs;

use std::{
    fmt, io,
    mem::offset_of,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use arming::{Armed, Wanted};
use attachment::{Attachment, WHOLE_PAYLOADS, WOKEN, load_maps, load_program, route_libbpf_messages};
pub use builder::Builder;
pub use events::{Captured, EventStream, Events};
use libbpf_rs::{AsRawLibbpf, MapCore, MapFlags, MapHandle, Object, RingBuffer, RingBufferBuilder, libbpf_sys};
pub use options::{Options, Payloads};
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    capture::{Batch, Counted, Counters, Intake, Named, Run, WallClock, now},
    event::{Decoder, Lost, each_lost},
    kernel_side::{self, types},
    node::error::{Error, Trying},
    node::probes::{self, Probe, Refusal},
    node::process::Node,
    privileges,
    system::give_memory_back,
    tracepoint::{Tracepoint, Tracepoints},
};

/// What ended [`Tap::wait`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Woken {
    /// The node's process has ended. Its last events can still be drained.
    pub node_ended: bool,
    /// A [`Stopper`] was used: it is time to stop.
    pub stopped: bool,
}

/// Stops a [`Tap`] from elsewhere, such as a signal handler. All clones stop the same tap.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Ends the current wait of the tap, and each later one. A signal handler may call it.
    pub fn stop(&self) {
        // It fails only after 2^64 calls.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

type Attachments = Vec<(Tracepoint, Attachment)>;

/// Attached to the tracepoints of a running node. Detaches when dropped.
pub struct Tap {
    attachments: Attachments,
    failures: Vec<(Tracepoint, Error)>,
    unverified: Option<Error>,
    ring: RingBuffer<'static>,
    intake: Arc<Mutex<Intake>>,
    /// What was counted by the last drain.
    counted: [Counters; Tracepoint::COUNT],
    bss: MapHandle,
    whole_payloads: MapHandle,
    woken: MapHandle,
    named: Named,
    ring_size: u32,
    block_duration_unit_ns: u64,
    wall_clock: WallClock,
    epoll: OwnedFd,
    stopper: Stopper,
    _node: OwnedFd,
    _shared: Object,
}

/// How long an event should wait in the ring buffer at most: a timeout for [`Tap::wait`].
pub const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

const WAKE_RING: u64 = 0;
const WAKE_NODE: u64 = 1;
const WAKE_STOP: u64 = 2;
const WAKE_OTHER: u64 = 3;

/// The callback ends a drain with this number when the batch is full. libbpf itself never fails with it while it consumes.
const BATCH_FULL: i32 = -105;

impl Tap {
    /// A builder, to say which node to attach to, and how.
    ///
    /// ```no_run
    /// use bitcointap::{event::Kind, process::Which, tap::Tap};
    ///
    /// let tap = Tap::builder().node(Which::PidFile("/run/bitcoind/bitcoind.pid".into())).attach()?;
    /// for captured in tap.events() {
    ///     if let Kind::Msg(message) = captured?.event().kind {
    ///         println!("{} {}", message.meta.peer_id, message.meta.command);
    ///     }
    /// }
    /// # Ok::<(), bitcointap::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An iterator over its events, which waits for each.
    pub fn events(self) -> Events {
        Events::new(self)
    }

    /// An asynchronous stream of its events. Starts a thread, which has no capabilities and waits for them.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn stream(self) -> Result<EventStream, Error> {
        EventStream::start(self)
    }

    /// Ends [`Tap::events`] and [`Tap::stream`] from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Attaches to `node`. This needs Linux 6.1, CAP_BPF and CAP_PERFMON, and for another user's process CAP_SYS_PTRACE.
    ///
    /// # Errors
    /// Every [`Error`] except those of finding a node. If only some tracepoints fail, [`Tap::failures`] has them.
    pub fn attach(node: &Node, options: &Options) -> Result<Tap, Error> {
        route_libbpf_messages();
        let size = options.ring_buffer_size;
        if !Options::accepts_ring_buffer_size(size) {
            return Err(Error::RingBufferSize(size));
        }
        privileges::check()?;

        let pid = Pid::from_raw(node.pid).ok_or(Error::PidGone(node.pid))?;
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Err(Error::PidGone(node.pid)),
            result => result.trying(|| format!("watch pid {}", node.pid))?,
        };
        let probes = probes::read(&node.executable())?;
        let of_core: Vec<(Tracepoint, &Probe)> =
            probes.iter().filter_map(|probe| Some((probe.tracepoint()?, probe))).collect();
        if of_core.is_empty() {
            return Err(probes::absence(node));
        }
        let wanted = options.selection.to_attach();
        let (mut chosen, mut refused) = (Vec::new(), Vec::new());
        for (tracepoint, probe) in of_core.into_iter().filter(|&(tracepoint, _)| wanted.contains(tracepoint)) {
            match probe.refusal() {
                None => chosen.push((tracepoint, probe)),
                // We treat these like absent ones.
                Some(Refusal::NotDocumented | Refusal::ArgumentCount(_)) => {}
                Some(refusal) => refused.push((tracepoint, Error::Refused { tracepoint, refusal })),
            }
        }
        chosen.sort_by_key(|&(tracepoint, _)| tracepoint);
        if chosen.is_empty() {
            let none_chosen = || Error::NoneChosen(node.program.clone(), wanted);
            return Err(refused.into_iter().next().map_or_else(none_chosen, |(_, error)| error));
        }

        let shared = load_maps(options)?;
        let wanted = Wanted { node, probes: &chosen, shared: &shared };
        let Armed { attachments, mut failures, unverified } = wanted.arm()?;
        failures.extend(refused);
        // libbpf needed this memory only to make them.
        give_memory_back();

        let map = |name: &str| shared.maps().find(|map| map.name().to_string_lossy().ends_with(name));
        let missing =
            || Error::System { action: "find a map of the kernel side".into(), error: io::ErrorKind::NotFound.into() };
        let handle =
            |name| MapHandle::try_from(&map(name).ok_or_else(missing)?).trying(|| format!("open the map {name}"));
        let (bss, whole_payloads, woken) = (handle(".bss")?, handle(WHOLE_PAYLOADS)?, handle(WOKEN)?);
        let ring_map = map("ring").ok_or_else(missing)?;
        let intake = Arc::new(Mutex::new(Intake::new(&options.selection)));
        let takes = Arc::clone(&intake);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&ring_map, move |record| if lock(&takes).take(record) { BATCH_FULL } else { 0 })
            .trying(|| "open the ring buffer".into())?;
        let ring = builder.build().trying(|| "map the ring buffer".into())?;

        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).trying(wait_action)?;
        // Edge-triggered: the kernel side's wake-up must end the sleep, and records that wait must not.
        watch(&epoll, &ring_map, WAKE_RING, epoll::EventFlags::ET)?;
        watch(&epoll, &process, WAKE_NODE, epoll::EventFlags::empty())?;
        let stopper =
            Stopper(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).trying(wait_action)?));
        watch(&epoll, &*stopper.0, WAKE_STOP, epoll::EventFlags::empty())?;

        let wall_clock = WallClock::new().trying(|| "watch the wall clock".into())?;
        // Wakes when the clock is set, so that few of the waiting events have fired after that.
        watch(&epoll, &wall_clock, WAKE_OTHER, epoll::EventFlags::empty())?;

        // Before v25, Bitcoin Core gave the duration in µs. v25 also brought the mempool's tracepoints.
        let since_v25 = probes.iter().any(|probe| probe.tracepoint() == Some(Tracepoint::MempoolAdded));
        Ok(Tap {
            attachments,
            failures,
            unverified,
            ring,
            intake,
            counted: Default::default(),
            bss,
            whole_payloads,
            woken,
            named: options.named.clone(),
            ring_size: size,
            block_duration_unit_ns: if since_v25 { 1 } else { 1000 },
            wall_clock,
            epoll,
            stopper,
            _node: process,
            _shared: shared,
        })
    }

    /// Describes the run of `node`, the node that this tap was attached to.
    pub fn run(&self, node: &Node) -> Run {
        // Some tracepoints are attached only for the networks of peers. No output gets their events, so the run does not name them.
        let intake = lock(&self.intake);
        let wanted = |tracepoint: &Tracepoint| intake.wants(*tracepoint);
        let mut attached: Tracepoints = self.attached().iter().filter(wanted).collect();
        let mut failed: Tracepoints = self.failures.iter().map(|&(tracepoint, _)| tracepoint).filter(wanted).collect();
        if !node.still_runs() {
            // If the node has ended meanwhile, that is why these failed.
            attached = attached.iter().chain(std::mem::take(&mut failed).iter()).collect();
        }
        Run {
            pid: node.pid,
            program: node.program.clone(),
            data_directory: node.data_directory().cloned(),
            chain: node.chain(),
            host: Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
            named: self.named.clone(),
            user_agent: None,
            start_time: node.start_time,
            attached,
            failed,
            joined: None,
        }
    }

    /// Whether payloads are whole from now on, although they are [`Payloads::Limited`]. Events that already wait to be drained do not
    /// change.
    pub fn want_whole_payloads(&self, whole: bool) -> Result<(), Error> {
        let value = u32::from(whole).to_ne_bytes();
        let key = 0u32.to_ne_bytes();
        self.whole_payloads
            .update(&key, &value, MapFlags::ANY)
            .trying(|| "choose how much of payloads is copied".into())
    }

    /// What was counted after the last drain. A second call does not give the same counts again.
    pub fn counted(&mut self) -> Result<Counted, Error> {
        Ok(Counted { added: self.added()?, untold: self.untold_losses()? })
    }

    /// The attached tracepoints: those that are wanted and that the node's program has.
    pub fn attached(&self) -> Tracepoints {
        self.attachments.iter().map(|&(tracepoint, _)| tracepoint).collect()
    }

    /// The wanted tracepoints that the node's program has, but that are not attached, and why: attaching failed, they are not armed,
    /// or they would harm the node ([`Error::Refused`]).
    pub fn failures(&self) -> &[(Tracepoint, Error)] {
        &self.failures
    }

    /// Whether the node's memory shows that each hit of [`Tap::attached`] comes here: that its code and its semaphores are armed. The
    /// kernel also reports success when it attaches to a file that nobody runs.
    ///
    /// # Errors
    /// Why the memory was not read. The tracepoints are attached all the same, and nothing shows that they are not armed.
    /// - [`Error::Memory`]: we may not trace the process. CAP_SYS_PTRACE suffices, unless kernel.yama.ptrace_scope is 3.
    /// - [`Error::PidGone`]: the node had already ended.
    pub fn verified(&self) -> Result<(), &Error> {
        self.unverified.as_ref().map_or(Ok(()), Err)
    }

    /// Detaches. Gives the error of [`Tap::verified`].
    pub(crate) fn into_unverified(mut self) -> Option<Error> {
        self.unverified.take()
    }

    /// From now on [`Tap::wait`] also ends when `fd` becomes readable.
    pub fn wake_on(&self, fd: impl AsFd) -> Result<(), Error> {
        watch(&self.epoll, fd, WAKE_OTHER, epoll::EventFlags::empty())
    }

    /// Sleeps until the ring buffer is filled past a mark, the node ends, the wall clock is set, a file descriptor of
    /// [`Tap::wake_on`] is readable, or `timeout` passes.
    pub fn wait(&self, timeout: Duration) -> Result<Woken, Error> {
        if !timeout.is_zero() {
            // From here on, the next event that finds the ring buffer filled past the mark wakes us.
            self.woken.update(&0u32.to_ne_bytes(), &0u32.to_ne_bytes(), MapFlags::ANY).trying(wait_action)?;
        }
        let mut events = Vec::with_capacity(4);
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).trying(wait_action),
        }
        let woken_by = |what| events.iter().any(|event| event.data.u64() == what);
        Ok(Woken { node_ended: woken_by(WAKE_NODE), stopped: woken_by(WAKE_STOP) })
    }

    /// Fills `batch` with the oldest events: about 256 KiB, or one large message. True if more may wait.
    pub fn drain(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        batch.clear();
        let unix_offset_ns = self.wall_clock.unix_offset_ns();
        batch.decoder = Decoder { unix_offset_ns, block_duration_unit_ns: self.block_duration_unit_ns };
        // Between the swaps, the callback fills this batch. It ends the drain when the batch is full.
        lock(&self.intake).swap(batch);
        let consumed = self.ring.consume_raw();
        lock(&self.intake).swap(batch);
        (batch.drained, batch.ring_buffer, batch.added) = (now(), self.ring_buffer(), self.added()?);
        self.wall_clock.drained(batch.newest(), consumed == BATCH_FULL);
        match consumed {
            BATCH_FULL => Ok(true),
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)).trying(|| "read the ring buffer".into()),
            _ => Ok(false),
        }
    }

    /// What was counted since attaching, by [`Tracepoint::index`].
    pub fn counters(&self) -> Result<[Counters; Tracepoint::COUNT], Error> {
        let counted = self.kernel_counters()?;
        let mut counters = counted.map(|c| Counters::of_kernel(c.fired, c.filtered, c.lost, c.value));
        for (counters, filtered) in counters.iter_mut().zip(lock(&self.intake).filtered()) {
            counters.filtered += filtered;
        }
        Ok(counters)
    }

    fn added(&mut self) -> Result<[Counters; Tracepoint::COUNT], Error> {
        let counted = self.counters()?;
        let before = std::mem::replace(&mut self.counted, counted);
        Ok(Counters::added(&counted, &before))
    }

    /// Losses after the last event that was delivered. No later record reports them.
    pub fn untold_losses(&self) -> Result<Vec<Lost>, Error> {
        let counted = self.kernel_counters()?;
        Ok(each_lost(|tracepoint, reason| counted[tracepoint].untold[reason].into()).collect())
    }

    /// The size of the ring buffer, and how many bytes wait in it.
    pub fn ring_buffer(&self) -> (u64, u64) {
        // SAFETY: the ring buffer lives as long as self, and its first ring was added in attach.
        let used = unsafe {
            let ring = libbpf_sys::ring_buffer__ring(self.ring.as_libbpf_object().as_ptr(), 0);
            libbpf_sys::ring__avail_data_size(ring)
        };
        (self.ring_size.into(), used as u64)
    }

    /// Detaches from all tracepoints. Events that fired before can still be drained.
    pub fn detach(&mut self) {
        detach_all(self.attachments.drain(..));
    }

    /// Detaches later, in a thread that does this for all taps: there is no hurry after a process has ended. Waits only if that thread is
    /// more than one run behind.
    pub fn let_go(mut self) {
        let attachments = std::mem::take(&mut self.attachments);
        // If no thread could be started, they are dropped here.
        if let Some(thread) = &*LETS_GO {
            let _ = thread.send(attachments);
        }
    }

    fn kernel_counters(&self) -> Result<[types::tracepoint_counters; Tracepoint::COUNT], Error> {
        let action = || "read the counters".to_owned();
        let bytes = self.bss.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).trying(action)?.unwrap_or_default();
        let mut rest = bytes.get(offset_of!(types::bss, counters)..).unwrap_or_default();
        let mut counted = [types::tracepoint_counters::default(); Tracepoint::COUNT];
        for counters in &mut counted {
            let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
            (*counters, rest) = kernel_side::split(rest).ok_or_else(short).trying(action)?;
        }
        Ok(counted)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, unverified, ring_size, .. } = self;
        let tap = &mut f.debug_struct("Tap");
        tap.field("attached", &self.attached()).field("failures", failures).field("unverified", unverified);
        tap.field("ring_size", ring_size);
        tap.finish_non_exhaustive()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.detach();
    }
}

/// The thread that detaches from runs that have ended. It is one for all runs, since glibc gives each thread memory of its own, and
/// keeps it.
static LETS_GO: LazyLock<Option<SyncSender<Attachments>>> = LazyLock::new(|| {
    let (sender, runs) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("detach".into()).spawn(move || {
        for attachments in runs {
            detach(attachments);
            give_memory_back();
        }
    });
    thread.is_ok().then_some(sender)
});

/// Uses a thread for each: the kernel waits for a grace period for each detaching, which would take a second in all if done one after
/// another.
fn detach_all(attachments: impl IntoIterator<Item = (Tracepoint, Attachment)>) {
    thread::scope(|scope| {
        for attachment in attachments {
            scope.spawn(move || detach(attachment));
        }
    });
}

/// Called in a thread that does nothing else.
fn detach<T>(attachments: T) {
    privileges::drop_all_of_thread();
    drop(attachments);
}

/// Checks whether the kernel accepts the maps and all programs. Attaches none.
pub(crate) fn try_loading() -> Result<(), Error> {
    route_libbpf_messages();
    privileges::check()?;
    let shared = load_maps(&Options::default())?;
    Tracepoint::all().try_for_each(|tracepoint| load_program(tracepoint, None, &shared).map(drop))
}

fn wait_action() -> String {
    "wait for events".to_owned()
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, data: u64, flags: epoll::EventFlags) -> Result<(), Error> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(data), flags | epoll::EventFlags::IN).trying(wait_action)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
