//! Transactions: how they come, are relayed, replace each other, are rejected and leave the mempool.

use bitcoin::{Txid, Wtxid, hashes::Hash, p2p::message_blockdata::Inventory};

use crate::{
    cli::Layout,
    due::{Family, OfPeer},
    mempool::{Entry, Mempool},
    names::{Command, ConnectionType, Direction, Rejection, RemovalReason, Tracepoint},
    node::{Node, Step},
    transactions::hash,
};

fn by_wtxid(entry: &Entry) -> Inventory {
    Inventory::WTx(Wtxid::from_byte_array(entry.wtxid))
}

/// For peers without wtxidrelay.
fn by_txid(entry: &Entry) -> Inventory {
    Inventory::Transaction(Txid::from_byte_array(entry.txid))
}

/// How to request transactions that `item` announced: with their witnesses.
fn wanted(item: Inventory) -> Inventory {
    match item {
        Inventory::Transaction(txid) => Inventory::WitnessTransaction(txid),
        other => other,
    }
}

impl Node<'_, '_> {
    /// A peer announces one or two new transactions among known ones. The node requests them. Others announce them,
    /// too, before they come.
    pub(super) fn transactions_arrive(&mut self) -> Step {
        let peer = self.relay_peer();
        let new = 1 + self.rng.usize(..2);
        let named = if self.rng.u8(..12) == 0 { by_txid } else { by_wtxid };
        self.picked.clear();
        self.items.clear();
        for _ in 0..new {
            let entry = self.supply.create(&mut self.rng, self.emitter.now());
            self.picked.push(entry);
            self.items.push(named(&entry));
        }
        for _ in 0..self.rng.u8(..4) {
            let known = self.mempool.recent(&mut self.rng);
            self.items.extend(known.as_ref().map(named));
        }
        self.say_items(Direction::Inbound, peer, Command::Inv)?;
        self.items.truncate(new);
        for item in &mut self.items {
            *item = wanted(*item);
        }
        self.ask_for_transactions(peer)?;
        self.items.clear();
        self.items.extend(self.picked.iter().map(by_wtxid));
        for _ in 0..1 + self.rng.u8(..4) {
            let other = self.relay_peer();
            if other != peer {
                self.say_items(Direction::Inbound, other, Command::Inv)?;
            }
        }
        Ok(())
    }

    /// Requests what is in `self.picked`. It nearly always comes.
    fn ask_for_transactions(&mut self, peer: usize) -> Step {
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        let number = self.done.transactions_asked;
        self.done.transactions_asked += 1;
        let entries = self.picked.clone();
        let can_leave = self.peers[peer].connection_type == ConnectionType::Inbound;
        match number % 160 {
            20 | 70 | 120 => {
                let items = self.items.clone();
                self.expect(peer, OfPeer::NoTransactions(items));
            }
            50 | 130 if can_leave => self.expect(peer, OfPeer::Leaves),
            // They never come.
            100 if number % 320 == 100 => {}
            _ => self.expect(peer, OfPeer::Transactions(entries)),
        }
        Ok(())
    }

    pub(super) fn transactions_come(&mut self, peer: usize, entries: &[Entry]) -> Step {
        for entry in entries {
            self.say_transaction(Direction::Inbound, peer, entry)?;
            match self.rng.u8(..100) {
                0..3 => self.reject(peer, entry)?,
                3..6 => self.replace(*entry)?,
                _ => self.accept(*entry)?,
            }
        }
        Ok(())
    }

    pub(super) fn transactions_do_not_come(&mut self, peer: usize, items: &[Inventory]) -> Step {
        self.items.clear();
        self.items.extend_from_slice(items);
        self.say_items(Direction::Inbound, peer, Command::Notfound)
    }

    /// A peer announces transactions that the node has.
    pub(super) fn known_transactions_announced(&mut self) -> Step {
        let peer = self.relay_peer();
        self.items.clear();
        for _ in 0..1 + self.rng.u8(..12) {
            let known = self.mempool.recent(&mut self.rng);
            self.items.extend(known.as_ref().map(by_wtxid));
        }
        self.say_items(Direction::Inbound, peer, Command::Inv)
    }

    /// The node announces some of its transactions, and now and then a peer requests them.
    pub(super) fn announce_transactions(&mut self) -> Step {
        let peer = self.relay_peer();
        let named = if self.rng.u8(..12) == 0 { by_txid } else { by_wtxid };
        self.items.clear();
        self.picked.clear();
        for _ in 0..1 + self.rng.u8(..8) {
            if let Some(entry) = self.mempool.recent(&mut self.rng) {
                self.picked.push(entry);
                self.items.push(named(&entry));
            }
        }
        self.say_items(Direction::Outbound, peer, Command::Inv)?;
        if self.items.is_empty() || self.rng.u8(..3) > 0 {
            return Ok(());
        }
        let count = 1 + self.rng.usize(..self.items.len().min(3));
        self.items.truncate(count);
        for item in &mut self.items {
            *item = wanted(*item);
        }
        self.say_items(Direction::Inbound, peer, Command::Getdata)?;
        if self.rng.u8(..50) == 0 {
            return self.say_items(Direction::Outbound, peer, Command::Notfound);
        }
        for index in 0..count {
            let entry = self.picked[index];
            self.say_transaction(Direction::Outbound, peer, &entry)?;
        }
        Ok(())
    }

    /// Adds `entry` to the mempool, which may then be too full.
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

    /// `new`, or sometimes a package of it and another (since v29), replaces one to three transactions.
    fn replace(&mut self, mut new: Entry) -> Step {
        let mut replaced = [None; 3];
        for slot in &mut replaced[..1 + self.rng.usize(..3)] {
            *slot = self.mempool.take(&mut self.rng);
        }
        let paid: i64 = replaced.iter().flatten().map(|old| old.fee).sum();
        // Less than the replaced ones may have paid, if the operator had lowered their priority.
        let is_cheaper = self.rng.u8(..16) == 0;
        new.fee = if is_cheaper { paid / 2 } else { paid + i64::from(new.vsize) * (1 + self.rng.i64(0..20)) };
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

    /// `entry` of `peer` is not accepted. The coins that were loaded to judge it leave the cache. For an orphan the
    /// node requests the parent.
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
        let parent = self.supply.create(&mut self.rng, self.emitter.now());
        self.items.clear();
        self.items.push(Inventory::WitnessTransaction(Txid::from_byte_array(parent.txid)));
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        self.done.parents_asked += 1;
        self.expect(peer, OfPeer::Parent(Box::new(Family { parent, child: *entry })));
        Ok(())
    }

    /// The parent comes, and the orphan is complete. The sender of every third orphan does not know the parents.
    pub(super) fn parent_comes(&mut self, peer: usize, family: &Family) -> Step {
        if self.done.parents_asked % 3 == 1 {
            self.items.clear();
            self.items.push(Inventory::WitnessTransaction(Txid::from_byte_array(family.parent.txid)));
            return self.say_items(Direction::Inbound, peer, Command::Notfound);
        }
        self.say_transaction(Direction::Inbound, peer, &family.parent)?;
        self.accept(family.parent)?;
        self.accept(family.child)
    }
}
