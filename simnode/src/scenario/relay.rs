//! Transactions: how they come, go on, replace each other, are rejected and leave the mempool.

use bitcoin::{Txid, Wtxid, hashes::Hash, p2p::message_blockdata::Inventory};

use crate::{
    cli::Layout,
    mempool::{Entry, Mempool},
    names::{Command, Direction, Rejection, RemovalReason, Tracepoint},
    node::{Node, Step},
    transactions::hash,
};

fn by_wtxid(entry: &Entry) -> Inventory {
    Inventory::WTx(Wtxid::from_byte_array(entry.wtxid))
}

impl Node<'_, '_> {
    /// A peer announces one or two new transactions among known ones; the node asks for them; others announce them too.
    pub(super) fn transactions_arrive(&mut self) -> Step {
        let peer = self.relay_peer();
        let new = 1 + self.rng.usize(..2);
        self.picked.clear();
        self.items.clear();
        for _ in 0..new {
            let entry = self.supply.create(&mut self.rng, self.emitter.now());
            self.picked.push(entry);
            self.items.push(by_wtxid(&entry));
        }
        for _ in 0..self.rng.u8(..4) {
            let known = self.mempool.recent(&mut self.rng);
            self.items.extend(known.as_ref().map(by_wtxid));
        }
        self.say_items(Direction::Inbound, peer, Command::Inv)?;
        self.items.truncate(new);
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        for index in 0..new {
            let entry = self.picked[index];
            self.say_transaction(Direction::Inbound, peer, &entry)?;
            match self.rng.u8(..100) {
                0..3 => self.reject(peer, &entry)?,
                3..6 => self.replace(entry)?,
                _ => self.accept(entry)?,
            }
        }
        for _ in 0..1 + self.rng.u8(..4) {
            let other = self.relay_peer();
            if other != peer {
                self.say_items(Direction::Inbound, other, Command::Inv)?;
            }
        }
        Ok(())
    }

    /// A peer announces what the node has.
    pub(super) fn known_transactions_announced(&mut self) -> Step {
        let peer = self.relay_peer();
        self.items.clear();
        for _ in 0..1 + self.rng.u8(..12) {
            let known = self.mempool.recent(&mut self.rng);
            self.items.extend(known.as_ref().map(by_wtxid));
        }
        self.say_items(Direction::Inbound, peer, Command::Inv)
    }

    /// The node announces some of its transactions, and now and then is asked for them.
    pub(super) fn announce_transactions(&mut self) -> Step {
        let peer = self.relay_peer();
        self.items.clear();
        self.picked.clear();
        for _ in 0..1 + self.rng.u8(..8) {
            if let Some(entry) = self.mempool.recent(&mut self.rng) {
                self.picked.push(entry);
                self.items.push(by_wtxid(&entry));
            }
        }
        self.say_items(Direction::Outbound, peer, Command::Inv)?;
        if self.items.is_empty() || self.rng.u8(..3) > 0 {
            return Ok(());
        }
        let wanted = 1 + self.rng.usize(..self.items.len().min(3));
        self.items.truncate(wanted);
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        if self.rng.u8(..50) == 0 {
            return self.say_items(Direction::Outbound, peer, Command::Notfound);
        }
        for index in 0..wanted {
            let entry = self.picked[index];
            self.say_transaction(Direction::Outbound, peer, &entry)?;
        }
        Ok(())
    }

    /// Adds `entry` to the mempool, which may be too full then.
    pub(super) fn accept(&mut self, entry: Entry) -> Step {
        self.emitter.added(&entry)?;
        self.mempool.push(entry);
        if self.mempool.len() > Mempool::CAPACITY {
            self.remove_some(RemovalReason::SizeLimit, 20)?;
        }
        Ok(())
    }

    pub(super) fn remove_some(&mut self, reason: RemovalReason, count: usize) -> Step {
        for _ in 0..count {
            if let Some(entry) = self.mempool.take(&mut self.rng) {
                self.emitter.removed(&entry, reason)?;
            }
        }
        Ok(())
    }

    /// `new`, or sometimes a package of it and another (since v29), takes the place of one to three transactions.
    fn replace(&mut self, mut new: Entry) -> Step {
        let mut replaced = [None; 3];
        for slot in &mut replaced[..1 + self.rng.usize(..3)] {
            *slot = self.mempool.take(&mut self.rng);
        }
        let paid: i64 = replaced.iter().flatten().map(|old| old.fee).sum();
        new.fee = paid + i64::from(new.vsize) * (1 + self.rng.i64(0..20));
        let mut replacement = new;
        let mut package = None;
        let mut child = None;
        if self.layout >= Layout::V29 && self.rng.u8(..8) == 0 {
            let entry = self.supply.create(&mut self.rng, self.emitter.now());
            replacement.vsize += entry.vsize;
            replacement.fee += entry.fee;
            package = Some(hash(&mut self.rng));
            child = Some(entry);
        }
        for old in replaced.iter().flatten() {
            self.emitter.replaced(old, &replacement, package.as_ref())?;
        }
        for old in replaced.iter().flatten() {
            self.emitter.removed(old, RemovalReason::Replaced)?;
        }
        self.accept(new)?;
        child.map_or(Ok(()), |entry| self.accept(entry))
    }

    /// `entry` of `peer` is not accepted. The coins that were loaded to judge it leave the cache; for an orphan the
    /// node asks for the parent.
    fn reject(&mut self, peer: usize, entry: &Entry) -> Step {
        let reason =
            if self.rng.bool() { Rejection::Missing } else { Rejection::ALL[self.rng.usize(..Rejection::ALL.len())] };
        for &(coin, value) in self.supply.inputs(entry) {
            let txid = coin.txid.to_byte_array();
            let height = self.chain.height - self.rng.u32(..100_000);
            let uncache = Tracepoint::UtxocacheUncache;
            self.emitter.coin(uncache, &txid, coin.vout, height, value, false)?;
        }
        self.emitter.rejected(&entry.txid, reason)?;
        if reason != Rejection::Missing {
            return Ok(());
        }
        let parent = Txid::from_byte_array(hash(&mut self.rng));
        self.items.clear();
        self.items.push(Inventory::WitnessTransaction(parent));
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        self.say_items(Direction::Inbound, peer, Command::Notfound)?;
        // What the caller announces next.
        self.items.clear();
        self.items.push(by_wtxid(entry));
        Ok(())
    }
}
