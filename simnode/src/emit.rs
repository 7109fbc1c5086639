//! Firing: the only place that calls the tracepoints. In: what an event carries. Out: a call of the tracepoint when the
//! pace allows, and a tally. A tracepoint that the layout lacks is skipped in silence.

mod trace;
mod wallet;

use std::ptr;

use trace::About;
pub use trace::Trace;

use crate::{
    mempool::Entry,
    names::{Command, ConnectionEvent, Direction, FlushMode, Misbehaviour, Rejection, RemovalReason, Tracepoint},
    pace::{Clock, Limits, Pacer},
    peers::Peer,
    probes::{Coin, Ended, Opened, Probes},
    tally::{Exchanges, Tally},
};

/// No event may fire any more: the count is reached, the time is over, or a signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// Fires events and tallies them.
pub struct Emitter<'a> {
    probes: &'a Probes,
    pacer: Pacer,
    /// Events that may fire before the pacer is asked again.
    budget: u64,
    clock: Clock,
    now: u32,
    trace: Option<&'a Trace>,
    tally: Tally,
    exchanges: Exchanges,
}

impl<'a> Emitter<'a> {
    /// Fires through `probes` within `limits`.
    pub fn new(probes: &'a Probes, limits: Limits, clock: Clock, trace: Option<&'a Trace>) -> Self {
        Self {
            probes,
            pacer: Pacer::new(limits),
            budget: 0,
            clock,
            now: clock.now(),
            trace,
            tally: Tally::new(probes),
            exchanges: Exchanges::default(),
        }
    }

    /// What was fired.
    pub fn into_tally(mut self) -> Tally {
        self.tally.exchanges = self.exchanges.finish();
        self.tally
    }

    /// UNIX seconds, exact to the last batch of events.
    pub(crate) fn now(&self) -> u32 {
        self.now
    }

    /// Events fired so far.
    pub(crate) fn fired(&self) -> u64 {
        self.tally.events
    }

    /// Fires an event of no peer.
    fn fire(&mut self, tracepoint: Tracepoint, call: impl FnOnce()) -> Result<(), Stop> {
        self.fire_with(tracepoint, &[], call)
    }

    /// Fires an event of no peer that names these transactions or blocks.
    fn fire_with(&mut self, tracepoint: Tracepoint, hashes: &[&[u8; 32]], call: impl FnOnce()) -> Result<(), Stop> {
        self.fire_about(tracepoint, || About::hashes(hashes), call)
    }

    // Inlined, like everything on the way of a message: a flood at full speed feels each call. Only a trace asks what
    // the event is about.
    #[inline(always)]
    fn fire_about<'b>(
        &mut self,
        tracepoint: Tracepoint,
        about: impl FnOnce() -> About<'b>,
        call: impl FnOnce(),
    ) -> Result<(), Stop> {
        if self.budget == 0 {
            self.budget = self.pacer.grant()?;
            self.now = self.clock.now();
        }
        self.budget -= 1;
        match self.trace {
            None => call(),
            Some(trace) => trace.around(tracepoint, about(), call),
        }
        self.tally.hit(tracepoint);
        Ok(())
    }

    /// A message with a payload that decodes, or with an unknown command. Transactions have [`Self::transaction`].
    #[inline(always)]
    pub(crate) fn message(
        &mut self,
        direction: Direction,
        peer: &Peer,
        command: Command,
        payload: &[u8],
    ) -> Result<(), Stop> {
        if self.fire_message(direction, peer, command, payload)? {
            self.exchanges.message(direction, peer, command, payload);
        }
        Ok(())
    }

    /// The message with the transaction `entry`, whose bytes are `payload`.
    pub(crate) fn transaction(
        &mut self,
        direction: Direction,
        peer: &Peer,
        entry: &Entry,
        payload: &[u8],
    ) -> Result<(), Stop> {
        if self.fire_message(direction, peer, Command::Tx, payload)? {
            self.exchanges.transaction(direction, peer, &entry.txid, &entry.wtxid);
        }
        Ok(())
    }

    /// Returns whether there is a tracepoint that it fired.
    #[inline(always)]
    fn fire_message(
        &mut self,
        direction: Direction,
        peer: &Peer,
        command: Command,
        payload: &[u8],
    ) -> Result<bool, Stop> {
        let (tracepoint, probe) = match direction {
            Direction::Inbound => (Tracepoint::InboundMessage, self.probes.inbound_message),
            Direction::Outbound => (Tracepoint::OutboundMessage, self.probes.outbound_message),
        };
        let Some(probe) = probe else { return Ok(false) };
        // An empty std::vector has no data.
        let data = if payload.is_empty() { ptr::null() } else { payload.as_ptr() };
        let about = || About::message(direction, peer, command, payload);
        self.fire_about(tracepoint, about, || {
            // SAFETY: the texts end with a zero byte, `data` has `payload.len()` bytes, and all outlive the call.
            unsafe {
                probe(
                    peer.id,
                    peer.address.as_ptr(),
                    peer.connection_type.c_name().as_ptr(),
                    command.c_name().as_ptr(),
                    payload.len(),
                    data,
                )
            }
        })?;
        self.tally.message(direction, command, peer.connection_type, payload.len());
        Ok(true)
    }

    #[inline(always)]
    pub(crate) fn inbound(&mut self, peer: &Peer, command: Command, payload: &[u8]) -> Result<(), Stop> {
        self.message(Direction::Inbound, peer, command, payload)
    }

    pub(crate) fn outbound(&mut self, peer: &Peer, command: Command, payload: &[u8]) -> Result<(), Stop> {
        self.message(Direction::Outbound, peer, command, payload)
    }

    /// An inbound message with a known command and a payload that does not decode.
    pub(crate) fn undecodable(&mut self, peer: &Peer, command: Command, payload: &[u8]) -> Result<(), Stop> {
        if self.fire_message(Direction::Inbound, peer, command, payload)? {
            self.tally.undecodable(command, peer.connection_type);
        }
        Ok(())
    }

    /// A new connection; `existing` counts those of its direction with this one.
    pub(crate) fn opened(&mut self, peer: &Peer, existing: usize) -> Result<(), Stop> {
        let (tracepoint, probe): (_, Option<Opened>) = match peer.connection_type.direction() {
            Direction::Inbound => (Tracepoint::InboundConnection, self.probes.inbound_connection),
            Direction::Outbound => (Tracepoint::OutboundConnection, self.probes.outbound_connection),
        };
        let Some(probe) = probe else { return Ok(()) };
        let about = || About::connection(peer);
        self.fire_about(tracepoint, about, || {
            // SAFETY: the texts end with a zero byte and outlive the call.
            unsafe {
                probe(
                    peer.id,
                    peer.address.as_ptr(),
                    peer.connection_type.c_name().as_ptr(),
                    peer.network as u32,
                    existing,
                )
            }
        })?;
        self.tally.connection(ConnectionEvent::Opened, peer);
        self.exchanges.opened(peer, self.now);
        Ok(())
    }

    pub(crate) fn evicted(&mut self, peer: &Peer) -> Result<(), Stop> {
        let probe = self.probes.evicted_inbound_connection;
        self.ended(Tracepoint::EvictedInboundConnection, probe, ConnectionEvent::Evicted, peer)
    }

    pub(crate) fn closed(&mut self, peer: &Peer) -> Result<(), Stop> {
        let probe = self.probes.closed_connection;
        if probe.is_some() {
            self.ended(Tracepoint::ClosedConnection, probe, ConnectionEvent::Closed, peer)?;
            self.exchanges.closed(peer, self.now);
        }
        Ok(())
    }

    fn ended(
        &mut self,
        tracepoint: Tracepoint,
        probe: Option<Ended>,
        event: ConnectionEvent,
        peer: &Peer,
    ) -> Result<(), Stop> {
        let Some(probe) = probe else { return Ok(()) };
        let about = || About::connection(peer);
        self.fire_about(tracepoint, about, || {
            // SAFETY: the texts end with a zero byte and outlive the call.
            unsafe {
                probe(
                    peer.id,
                    peer.address.as_ptr(),
                    peer.connection_type.c_name().as_ptr(),
                    peer.network as u32,
                    i64::from(peer.established),
                )
            }
        })?;
        self.tally.connection(event, peer);
        Ok(())
    }

    /// Misbehaviour that the patched v27 scores with 100, which is its threshold.
    pub(crate) fn misbehaving(&mut self, peer: &Peer, reason: Misbehaviour) -> Result<(), Stop> {
        let Some(probe) = self.probes.misbehaving_connection else {
            return Ok(());
        };
        let about = || About::misbehaviour(peer);
        self.fire_about(Tracepoint::MisbehavingConnection, about, || {
            // SAFETY: the text ends with a zero byte and outlives the call.
            unsafe { probe(peer.id, 0, 100, reason.c_name().as_ptr(), true) }
        })?;
        self.tally.misbehaving[reason as usize] += 1;
        Ok(())
    }

    /// A block connected in `nanoseconds`, which is a multiple of 1000 since v23 fires µs.
    pub(crate) fn block_connected(
        &mut self,
        hash: &[u8; 32],
        height: i32,
        transactions: u64,
        inputs: i32,
        sigops: i64,
        nanoseconds: i64,
    ) -> Result<(), Stop> {
        let Some(probe) = self.probes.block_connected else {
            return Ok(());
        };
        self.fire_with(Tracepoint::BlockConnected, &[hash], || {
            // SAFETY: `hash` has 32 bytes and outlives the call.
            unsafe { probe(hash.as_ptr(), height, transactions, inputs, sigops, nanoseconds) }
        })?;
        self.exchanges.connected(hash, height);
        let tally = &mut self.tally.blocks;
        tally.blocks += 1;
        tally.last_height = Some(height);
        tally.transactions += transactions;
        tally.inputs += i64::from(inputs);
        tally.sigops += sigops;
        tally.duration_ns += nanoseconds;
        Ok(())
    }

    pub(crate) fn flush(
        &mut self,
        microseconds: i64,
        mode: FlushMode,
        coins: u64,
        bytes: u64,
        for_prune: bool,
    ) -> Result<(), Stop> {
        let Some(probe) = self.probes.utxocache_flush else {
            return Ok(());
        };
        self.fire(Tracepoint::UtxocacheFlush, || {
            // SAFETY: it takes no pointers.
            unsafe { probe(microseconds, mode.number(), coins, bytes, for_prune) }
        })?;
        self.tally.flush(microseconds, mode, coins, bytes, for_prune);
        Ok(())
    }

    /// A coin added to, spent in or taken out of the UTXO cache, as `tracepoint` says.
    pub(crate) fn coin(
        &mut self,
        tracepoint: Tracepoint,
        txid: &[u8; 32],
        output: u32,
        height: u32,
        value: i64,
        coinbase: bool,
    ) -> Result<(), Stop> {
        let probe: Option<Coin> = match tracepoint {
            Tracepoint::UtxocacheAdd => self.probes.utxocache_add,
            Tracepoint::UtxocacheSpent => self.probes.utxocache_spent,
            _ => self.probes.utxocache_uncache,
        };
        let Some(probe) = probe else { return Ok(()) };
        self.fire_with(tracepoint, &[txid], || {
            // SAFETY: `txid` has 32 bytes and outlives the call.
            unsafe { probe(txid.as_ptr(), output, height, value, coinbase) }
        })?;
        self.tally.coin(tracepoint, value, coinbase);
        Ok(())
    }

    pub(crate) fn added(&mut self, entry: &Entry) -> Result<(), Stop> {
        let Some(probe) = self.probes.mempool_added else {
            return Ok(());
        };
        self.fire_with(Tracepoint::MempoolAdded, &[&entry.txid], || {
            // SAFETY: `txid` has 32 bytes and outlives the call.
            unsafe { probe(entry.txid.as_ptr(), entry.vsize, entry.fee) }
        })?;
        self.tally.added.count(entry.vsize, entry.fee);
        Ok(())
    }

    pub(crate) fn removed(&mut self, entry: &Entry, reason: RemovalReason) -> Result<(), Stop> {
        let Some(probe) = self.probes.mempool_removed else {
            return Ok(());
        };
        self.fire_with(Tracepoint::MempoolRemoved, &[&entry.txid], || {
            // SAFETY: `txid` has 32 bytes, the text ends with a zero byte, and both outlive the call.
            unsafe {
                probe(entry.txid.as_ptr(), reason.c_name().as_ptr(), entry.vsize, entry.fee, u64::from(entry.entered))
            }
        })?;
        self.tally.removed.count(entry.vsize, entry.fee);
        self.tally.removals[reason as usize] += 1;
        Ok(())
    }

    /// `old` is replaced by `new`. The id of `new` is a package hash if `package` is given.
    pub(crate) fn replaced(&mut self, old: &Entry, new: &Entry, package: Option<&[u8; 32]>) -> Result<(), Stop> {
        let Some(probe) = self.probes.mempool_replaced else {
            return Ok(());
        };
        let new_id = package.unwrap_or(&new.txid);
        self.fire_with(Tracepoint::MempoolReplaced, &[&old.txid, new_id], || {
            // SAFETY: both ids have 32 bytes and outlive the call.
            unsafe {
                probe(
                    old.txid.as_ptr(),
                    old.vsize,
                    old.fee,
                    u64::from(old.entered),
                    new_id.as_ptr(),
                    new.vsize,
                    new.fee,
                    package.is_none(),
                )
            }
        })?;
        self.tally.replaced.count(old.vsize, old.fee);
        self.tally.replacements.count(new.vsize, new.fee);
        Ok(())
    }

    pub(crate) fn rejected(&mut self, txid: &[u8; 32], reason: Rejection) -> Result<(), Stop> {
        let Some(probe) = self.probes.mempool_rejected else {
            return Ok(());
        };
        self.fire_with(Tracepoint::MempoolRejected, &[txid], || {
            // SAFETY: `txid` has 32 bytes, the text ends with a zero byte, and both outlive the call.
            unsafe { probe(txid.as_ptr(), reason.c_name().as_ptr()) }
        })?;
        self.tally.rejections[reason as usize] += 1;
        Ok(())
    }
}
