//! Loads the kernel side with libbpf: the maps that all BPF programs share, and each program with its link. In: a process, its
//! executable and a tracepoint. Out: an [`Attachment`], which detaches when dropped.

use std::{cell::RefCell, io, mem::offset_of, os::fd::AsFd, path::Path, sync::Once};

use libbpf_rs::{Link, MapCore, MapFlags, Object, ObjectBuilder, OpenObject};

use super::{Options, Payloads, programs};
use crate::{
    kernel_side::{
        OBJECT, bytes_of,
        types::{self, argument_place},
    },
    node::error::{Error, Trying},
    node::probes::Probe,
    selection::Listed,
    tracepoint::{Tracepoint, Tracepoints},
};

/// The BPF program of one tracepoint, and its link. Each has its own object: libbpf keeps USDT attachments in the object, which only
/// one thread may use at once, and we detach with several threads to be quick.
pub(super) struct Attachment {
    // Dropped before its object.
    _link: Link,
    _object: Object,
}

/// The name of the BPF program of a tracepoint.
fn program_name(tracepoint: Tracepoint) -> String {
    tracepoint.name().replace(':', "_")
}

fn open(object: &[u8]) -> Result<OpenObject, Error> {
    ObjectBuilder::default().open_memory(object).trying(|| "open the BPF programs".into())
}

/// Loads the ring buffer, the counters and the constants, which all BPF programs share.
pub(super) fn load_maps(options: &Options) -> Result<Object, Error> {
    let &Options { ref selection, summed, payloads, whole_payloads, ring_buffer_size, named: _ } = options;
    let coins = Tracepoints::coins();
    let summed: Tracepoints = summed.iter().filter(|&tracepoint| coins.contains(tracepoint)).collect();
    let in_kernel = selection.in_kernel();
    let (peers_listed, peers) = listed(&in_kernel.peers, |id| id.to_ne_bytes());
    let (commands_listed, commands) = listed(&in_kernel.commands, name_key);
    let limits = match payloads {
        Payloads::Limited(limits) => limits,
        Payloads::Whole | Payloads::None => &[],
    };

    let without_programs = programs::only(None, OBJECT);
    let mut object = open(without_programs.as_deref().unwrap_or(OBJECT))?;
    for mut program in object.progs_mut() {
        program.set_autoload(false);
    }
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        let size = |entries: usize| u32::try_from(entries.max(1)).unwrap_or(u32::MAX);
        if name == "ring" {
            map.set_max_entries(ring_buffer_size).trying(|| "size the ring buffer".into())?;
        } else if name == "peers" {
            map.set_max_entries(size(peers.len())).trying(|| "size a BPF map".into())?;
        } else if name == "commands" {
            map.set_max_entries(size(commands.len())).trying(|| "size a BPF map".into())?;
        } else if name == "payload_limits" {
            map.set_max_entries(size(limits.len())).trying(|| "size a BPF map".into())?;
        } else if name == WHOLE_PAYLOADS {
            map.initial_value_mut().unwrap_or_default().copy_from_slice(&u32::from(whole_payloads).to_ne_bytes());
        } else if name.ends_with(".rodata") {
            let constants = map.initial_value_mut().unwrap_or_default();
            let mut set = |offset: usize, value: &[u8]| {
                if let Some(constant) = constants.get_mut(offset..offset + value.len()) {
                    constant.copy_from_slice(value);
                }
            };
            // A sixteenth: when it wakes the reader, nearly the whole ring buffer is left for a burst.
            set(offset_of!(types::rodata, wake_mark), &u64::from(ring_buffer_size / 16).to_ne_bytes());
            set(offset_of!(types::rodata, summed), &summed.bits().to_ne_bytes());
            set(offset_of!(types::rodata, peers_listed), &peers_listed.0.to_ne_bytes());
            set(offset_of!(types::rodata, commands_listed), &commands_listed.0.to_ne_bytes());
            set(offset_of!(types::rodata, connection_types), &in_kernel.connection_types.to_ne_bytes());
            set(offset_of!(types::rodata, min_size), &in_kernel.min_size.to_ne_bytes());
            set(offset_of!(types::rodata, max_size), &in_kernel.max_size.to_ne_bytes());
            let payloads = match payloads {
                Payloads::Whole => types::payloads::PAYLOADS_WHOLE,
                Payloads::None => types::payloads::PAYLOADS_NONE,
                Payloads::Limited(_) => types::payloads::PAYLOADS_LIMITED,
            };
            set(offset_of!(types::rodata, payloads), &payloads.0.to_ne_bytes());
        }
    }
    let object = warned(|| "create the BPF maps".into(), || object.load())?;
    fill(&object, "peers", peers.iter().map(|key| (key, [1])))?;
    fill(&object, "commands", commands.iter().map(|key| (key, [1])))?;
    fill(&object, "payload_limits", limits.iter().map(|(command, limit)| (name_key(command), limit.to_ne_bytes())))?;
    Ok(object)
}

/// The kernel side's constant for a list, and the keys of its map.
fn listed<T: ?Sized, K>(listed: &Listed<'_, T>, key: impl Fn(&T) -> K) -> (types::listed, Vec<K>) {
    let keys = |list: &[&T]| list.iter().map(|&value| key(value)).collect();
    match listed {
        Listed::All => (types::listed::NOT_LISTED, Vec::new()),
        Listed::Only(list) => (types::listed::ONLY_LISTED, keys(list)),
        Listed::Not(list) => (types::listed::NONE_LISTED, keys(list)),
    }
}

/// The map key of a command: its name, filled up with zeros.
fn name_key(command: &str) -> [u8; size_of::<types::command>()] {
    let mut key = [0; size_of::<types::command>()];
    let length = command.len().min(key.len());
    key[..length].copy_from_slice(&command.as_bytes()[..length]);
    key
}

fn fill<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    object: &Object,
    name: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<(), Error> {
    let Some(map) = object.maps().find(|map| map.name() == name) else { return Ok(()) };
    entries
        .into_iter()
        .try_for_each(|(key, value)| map.update(key.as_ref(), value.as_ref(), MapFlags::ANY))
        .trying(|| format!("fill the BPF map {name}"))
}

/// The name of the map that says whether payloads are whole now.
pub(super) const WHOLE_PAYLOADS: &str = ".data.payloads";
/// The name of the map that says whether the reader was woken since it last went to sleep.
pub(super) const WOKEN: &str = ".data.woken";
/// The name of the map with the constants of each program: the places of its arguments.
const PLACES: &str = ".rodata.places";
/// Maps of libbpf: the arguments at each location of a tracepoint, and for kernels without BPF cookies, the location of each address.
const ARGUMENTS_OF_PLACES: &str = "__bpf_usdt_specs";
const PLACES_BY_ADDRESS: &str = "__bpf_usdt_ip_to_spec_id";

/// Loads the BPF program of a tracepoint, with the maps of `shared`.
pub(super) fn load_program(tracepoint: Tracepoint, probe: Option<&Probe>, shared: &Object) -> Result<Object, Error> {
    let name = program_name(tracepoint);
    if let Some(alone) = programs::only(Some(&name), OBJECT)
        && let Ok(object) = load_program_of(&alone, tracepoint, probe, shared)
    {
        return Ok(object);
    }
    // The complete object has line numbers: if the kernel refuses the program, its message names lines of the source.
    load_program_of(OBJECT, tracepoint, probe, shared)
}

fn load_program_of(
    object: &[u8],
    tracepoint: Tracepoint,
    probe: Option<&Probe>,
    shared: &Object,
) -> Result<Object, Error> {
    let mut object = open(object)?;
    let name = program_name(tracepoint);
    for mut program in object.progs_mut() {
        program.set_autoload(*program.name() == *name);
    }
    for (mut map, shared) in object.maps_mut().zip(shared.maps()) {
        if map.name() == ARGUMENTS_OF_PLACES || map.name() == PLACES_BY_ADDRESS {
            // libbpf makes room for 256 locations and 1024 addresses: 160 KiB for each tracepoint, although most have one location.
            let places = probe.map_or(1, |probe| probe.places.len().clamp(1, 256)) as u32;
            map.set_max_entries(places).trying(|| "size a BPF map".into())?;
        } else if map.name() == PLACES {
            let places = probe.map(Probe::argument_places).unwrap_or_default();
            let constants = map.initial_value_mut().unwrap_or_default().chunks_exact_mut(size_of::<argument_place>());
            places.iter().zip(constants).for_each(|(place, constant)| constant.copy_from_slice(bytes_of(place)));
        } else if !map.name().to_string_lossy().starts_with("__") {
            // Maps that begin with two underscores are libbpf's own; each object has its own.
            map.reuse_fd(shared.as_fd()).trying(|| "share a BPF map".into())?;
        }
    }
    warned(|| format!("load the BPF program of {tracepoint}"), || object.load())
}

impl Attachment {
    pub(super) fn new(
        tracepoint: Tracepoint,
        probe: &Probe,
        shared: &Object,
        pid: i32,
        executable: &Path,
    ) -> Result<Self, Error> {
        let object = load_program(tracepoint, Some(probe), shared)?;
        let name = program_name(tracepoint);
        let action = || format!("attach to {tracepoint} of pid {pid}");
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        let program = object.progs_mut().find(|program| *program.name() == *name).ok_or_else(absent).trying(action)?;
        let (context, event) = (tracepoint.context(), tracepoint.event());
        let link = warned(action, || program.attach_usdt(pid, executable, context, event))?;
        Ok(Self { _link: link, _object: object })
    }
}

thread_local! {
    /// The first warning of libbpf in this thread since the call began. Later warnings follow from it.
    static WARNING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// How many characters of a warning are kept: some contain the whole path of a program.
const MAX_WARNING: usize = 400;

/// Calls libbpf. When it fails, it returns a number, and says the reason only in a warning.
fn warned<T>(action: impl FnOnce() -> String, call: impl FnOnce() -> libbpf_rs::Result<T>) -> Result<T, Error> {
    WARNING.take();
    call().map_err(|error| Error::Bpf { action: action(), error, warning: WARNING.take() })
}

/// Sends libbpf's messages to our log; by default libbpf prints them to stderr.
pub(super) fn route_libbpf_messages() {
    static ONCE: Once = Once::new();
    fn log(level: libbpf_rs::PrintLevel, message: String) {
        let message = message.trim_end();
        if level == libbpf_rs::PrintLevel::Warn {
            let line = message.lines().next().unwrap_or_default();
            WARNING.with_borrow_mut(|it| it.get_or_insert_with(|| line.chars().take(MAX_WARNING).collect()).len());
        }
        match level {
            // Whatever libbpf warns about also comes as an error, or is handled.
            libbpf_rs::PrintLevel::Warn | libbpf_rs::PrintLevel::Info => tracing::debug!(target: "libbpf", "{message}"),
            libbpf_rs::PrintLevel::Debug => tracing::trace!(target: "libbpf", "{message}"),
        }
    }
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, log)));
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{capture::KNOWN_PEERS, tracepoint::LossReason};

    #[test]
    fn kernel_side_and_tracepoints_have_the_same_names() {
        let object = open(OBJECT).unwrap();
        let programs: BTreeSet<String> =
            object.progs().map(|program| program.name().to_string_lossy().into_owned()).collect();
        let tracepoints: BTreeSet<String> = Tracepoint::all().map(program_name).collect();
        assert_eq!(programs, tracepoints);

        assert_eq!(types::tracepoint::TRACEPOINT_COUNT.0 as usize, Tracepoint::COUNT);
        assert_eq!(types::loss_reason::RING_FULL.0, LossReason::RingFull as u32);
        assert_eq!(types::loss_reason::UNREADABLE.0, LossReason::Unreadable as u32);
        assert_eq!(types::loss_reason::LOSS_REASON_COUNT.0 as usize, LossReason::KERNEL.len());

        let known_peers = object.maps().find(|map| map.name() == "known_peers").unwrap();
        assert_eq!(known_peers.max_entries() as usize, KNOWN_PEERS);
    }
}
