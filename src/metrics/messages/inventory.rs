//! What inv, getdata and notfound messages name. In: their items. Out: families by direction, message and type of item.

use bitcoin::p2p::message_blockdata::Inventory as Item;

use crate::metrics::{
    family::{Counters, Histograms, families},
    labels::{Label, MESSAGES, direction},
};
use crate::p2p::Items;

/// Upper bounds in items: Bitcoin Core long announced at most 35 at a time, and accepts 50,000.
const ITEMS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 70.0, 100.0, 500.0, 1000.0, 5000.0, 50000.0];

families! {
    struct Inventory with _options {
        /// Transactions and blocks named in inv, getdata and notfound messages, by type of item: tx and block are those
        /// of the first protocol, wtx is a transaction by wtxid (BIP 339), witness_tx and witness_block ask for
        /// witnesses (BIP 144). An item counts each time it is named. Types that Bitcoin Core does not know count as
        /// other.
        p2p_inventory_items_total: Counters<3> = [direction(), message(), item()], from &MESSAGES;

        /// Items in single inv, getdata and notfound messages. Bitcoin Core accepts 50000; older releases announced at
        /// most 35 transactions at a time.
        p2p_inventory_message_items: Histograms<2> = ([direction(), message()], ITEMS), from &MESSAGES;

        /// inv messages by the mix of their items: no items (empty), all of one type (single), of more than one type
        /// (mixed). The types are those of bitcointap_p2p_inventory_items_total; all that it counts as other are one
        /// type.
        p2p_inv_messages_total: Counters<2> = [direction(), Label::new("mix", ["empty", "single", "mixed"])], from &MESSAGES;
    }
}

/// The message: places in the label `message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Inv,
    Getdata,
    Notfound,
}

fn message() -> Label {
    Label::new("message", ["inv", "getdata", "notfound"])
}

const ITEM_TYPES: [&str; 8] =
    ["tx", "wtx", "witness_tx", "block", "witness_block", "cmpct_block", "filtered_block", "other"];

fn item() -> Label {
    Label::new("item", ITEM_TYPES)
}

/// MSG_FILTERED_BLOCK in Bitcoin Core (BIP 37), which rust-bitcoin does not name.
pub(in crate::metrics) const FILTERED_BLOCK: u32 = 3;

/// Its place in [`ITEM_TYPES`].
fn place(item: &Item) -> usize {
    match item {
        Item::Transaction(_) => 0,
        Item::WTx(_) => 1,
        Item::WitnessTransaction(_) => 2,
        Item::Block(_) => 3,
        Item::WitnessBlock(_) => 4,
        Item::CompactBlock(_) => 5,
        Item::Unknown { inv_type: FILTERED_BLOCK, hash: _ } => 6,
        Item::Unknown { inv_type: _, hash: _ } | Item::Error => 7,
    }
}

impl Inventory {
    pub(super) fn observe(&self, direction: usize, message: Message, items: Items<'_>) {
        let mut counts = [0; ITEM_TYPES.len()];
        for item in items.iter() {
            counts[place(&item)] += 1;
        }
        let mut types = 0;
        for (item, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
            self.p2p_inventory_items_total.at([direction, message as usize, item]).inc_by(count);
            types += 1;
        }
        self.p2p_inventory_message_items.at([direction, message as usize]).observe(items.len() as f64);
        if message == Message::Inv {
            // Empty, single, mixed.
            self.p2p_inv_messages_total.at([direction, types.min(2)]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::Kind,
        metrics::testing::{assert_histogram_of_one, message, told},
        p2p,
    };

    /// A payload of items of these types.
    fn items(types: &[u32]) -> Vec<u8> {
        let mut payload = vec![types.len() as u8];
        for inv_type in types {
            payload.extend_from_slice(&inv_type.to_le_bytes());
            payload.extend_from_slice(&[7; 32]);
        }
        payload
    }

    fn inventory<'a>(inbound: bool, command: &'a str, payload: &'a [u8]) -> Kind<'a> {
        message(inbound, command, payload.len() as u64, p2p::decode(command, payload))
    }

    #[test]
    fn items_count_by_type() {
        let all = items(&[1, 5, 5, 0x4000_0001, 2, 0x4000_0002, 4, 3, 0, 77]);
        let wanted = items(&[0x4000_0002]);
        let missing = items(&[1, 1, 1]);
        let mut told = told();
        told.tell(inventory(true, "inv", &all))
            .tell(inventory(false, "getdata", &wanted))
            .tell(inventory(true, "notfound", &missing))
            .assert(
                "p2p_inventory_items_total",
                &[
                    "{direction=\"inbound\",item=\"block\",message=\"inv\"} 1",
                    "{direction=\"inbound\",item=\"cmpct_block\",message=\"inv\"} 1",
                    "{direction=\"inbound\",item=\"filtered_block\",message=\"inv\"} 1",
                    "{direction=\"inbound\",item=\"other\",message=\"inv\"} 2",
                    "{direction=\"inbound\",item=\"tx\",message=\"inv\"} 1",
                    "{direction=\"inbound\",item=\"tx\",message=\"notfound\"} 3",
                    "{direction=\"inbound\",item=\"witness_block\",message=\"inv\"} 1",
                    "{direction=\"inbound\",item=\"witness_tx\",message=\"inv\"} 1",
                    "{direction=\"inbound\",item=\"wtx\",message=\"inv\"} 2",
                    "{direction=\"outbound\",item=\"witness_block\",message=\"getdata\"} 1",
                ],
            );
    }

    #[test]
    fn thirty_five_is_a_bound() {
        let batch = items(&[5; 35]);
        let mut told = told();
        told.tell(inventory(false, "inv", &batch));
        let label = "direction=\"outbound\",message=\"inv\",";
        let bounds = ["35", "70", "100", "500", "1000", "5000", "50000", "+Inf"];
        assert_histogram_of_one(&told, "p2p_inventory_message_items", label, &bounds, 35.0);
    }

    #[test]
    fn inv_messages_count_by_how_they_mix() {
        let [empty, single, mixed, three] = [items(&[]), items(&[5, 5]), items(&[5, 2]), items(&[1, 2, 5])];
        let mut told = told();
        for payload in [&empty, &single, &mixed, &three] {
            told.tell(inventory(true, "inv", payload)).tell(inventory(true, "getdata", payload));
        }
        told.tell(inventory(false, "inv", &single)).assert(
            "p2p_inv_messages_total",
            &[
                "{direction=\"inbound\",mix=\"empty\"} 1",
                "{direction=\"inbound\",mix=\"mixed\"} 2",
                "{direction=\"inbound\",mix=\"single\"} 1",
                "{direction=\"outbound\",mix=\"single\"} 1",
            ],
        );
    }
}
