//! Two blocks of the same height: the node ignores the later one, unless the next block is on it.

use bitcoin::p2p::{message::NetworkMessage, message_blockdata::Inventory};

use crate::{
    chain::Block,
    due::{Branch, OfNode, OfPeer, Rival},
    names::{Command, Direction, RemovalReason},
    node::{Node, Step},
};

impl Node<'_, '_> {
    /// A block of the tip's height: the node keeps its header and does not ask for more.
    pub(super) fn hear_of_rival(&mut self, rival: Rival) -> Step {
        let Rival { block, wins } = rival;
        let compact = block.compact(&mut self.rng);
        let peer = self.announcer();
        self.hear(peer, Command::Cmpctblock, &compact)?;
        let peer = self.announcer();
        self.hear(peer, Command::Headers, &NetworkMessage::Headers(vec![block.header]))?;
        if wins {
            let later = self.rng.u64(100..600);
            self.plan(later, OfNode::HearsOfBranch(Box::new(block)));
        }
        Ok(())
    }

    /// A peer announces a block on the rival of the tip. The node requests both.
    pub(super) fn hear_of_branch(&mut self, rival: Block) -> Step {
        if !self.is_at_tip(&rival) {
            return Ok(());
        }
        let (now, height) = (self.emitter.now(), rival.height + 1);
        let transactions = (0..3).filter_map(|_| self.mempool.take(&mut self.rng)).collect();
        let child = Block::on(rival.hash, height, &mut self.rng, now, transactions);
        let peer = self.announcer();
        self.hear(peer, Command::Headers, &NetworkMessage::Headers(vec![child.header]))?;
        self.items.clear();
        self.items.extend([rival.hash, child.hash].map(Inventory::WitnessBlock));
        self.say_items(Direction::Outbound, peer, Command::Getdata)?;
        self.expect(peer, OfPeer::Branch(Box::new(Branch { rival, child })));
        Ok(())
    }

    /// Both come: the node disconnects the tip, and connects them. What only the tip contained is in the mempool again,
    /// unless it is not valid any more.
    pub(super) fn branch_comes(&mut self, peer: usize, branch: Branch) -> Step {
        let Branch { rival, child } = branch;
        for block in [&rival, &child] {
            block.write(&mut self.supply, &mut self.payload);
            self.emitter.inbound(&self.peers[peer], Command::Block, &self.payload)?;
        }
        let source = self.peers[peer].id;
        let disconnected = self.last_block.take();
        if !self.is_at_tip(&rival) {
            self.last_block = disconnected;
            return Ok(());
        }
        self.chain.pop();
        self.connect(&rival, 0)?;
        self.connect(&child, child.transactions.len())?;
        if let Some(disconnected) = disconnected {
            for entry in &disconnected.transactions[rival.transactions.len()..] {
                self.accept(*entry)?;
            }
        }
        self.remove_some(RemovalReason::Reorg, 2)?;
        self.announce_block(source, &child)?;
        self.last_block = Some(child);
        Ok(())
    }

    /// Whether the tip is of the same height and on the same block, and no other block arrives.
    fn is_at_tip(&self, rival: &Block) -> bool {
        let tip = self.chain.last_headers(1);
        let siblings = tip.iter().all(|tip| tip.prev_blockhash == rival.header.prev_blockhash);
        siblings && self.arriving.is_none()
    }
}
