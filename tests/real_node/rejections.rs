//! Rejections that are reversed. In: a parent that pays nothing, and its child that pays for both. Out: what was rejected, and what of
//! it was taken after all.

use bitcoind::BitcoinD;
use serde_json::{Value, json};

use super::{
    call, connect, executable, export, mine, new_address, start, try_call, wait_for_handshake, wait_for_mempool,
    wait_for_same_tip,
};
use crate::tool::eventually;

/// A signed transaction of this wallet that pays everything that it spends, except the fee, to itself.
fn spend(node: &BitcoinD, spent: &Value, fee: f64) -> Result<Value, String> {
    let value = (spent["amount"].as_f64().unwrap() - fee).to_string();
    let to = new_address(node).as_str().unwrap().to_owned();
    // Version 3 (TRUC) may pay nothing, if a child pays for it; releases before v29 cannot make it.
    let arguments = [json!([spent]), json!([{ to: value }]), json!(0), json!(true), json!(3)];
    let raw = try_call(node, "createrawtransaction", &arguments)?;
    Ok(call(node, "signrawtransactionwithwallet", &[raw, json!([spent])])["hex"].clone())
}

#[test]
fn a_parent_that_is_taken_with_its_child_is_a_rejection_reversed() {
    let Some(executable) = executable() else { return };
    let [tapped, other] = [(); 2].map(|()| start(&executable));
    let exporter = export(&tapped, "");
    mine(&other, 101);
    let mut coin = call(&other, "listunspent", &[])[0].clone();
    coin["sequence"] = json!(0xffff_fffdu32);
    let parent = match spend(&other, &coin, 0.0) {
        Ok(parent) => parent,
        Err(why) => return println!("skipped: {why}"),
    };
    let decoded = call(&other, "decoderawtransaction", std::slice::from_ref(&parent));
    let output = &decoded["vout"][0];
    let coin = json!({ "txid": decoded["txid"], "vout": 0, "amount": output["value"],
        "scriptPubKey": output["scriptPubKey"]["hex"] });
    let child = spend(&other, &coin, 0.001).unwrap();
    let without_value = spend(&other, &coin, -1.0).unwrap();

    // The child comes alone, since peers do not announce what pays nothing, and requests its parent.
    connect(&tapped, &other);
    wait_for_same_tip(&[&tapped, &other]);
    wait_for_handshake(&tapped);
    let accepted = call(&other, "submitpackage", &[json!([parent, child])]);
    assert_eq!(accepted["package_msg"], "success", "{accepted}");
    wait_for_mempool(&tapped, &decoded["txid"]);
    let rejections = |family, labels: &[_]| exporter.scrape().sum(family, labels);
    let by = |reason| rejections("mempool_rejections_total", &[("reason", reason)]);
    let reversed = |reason| rejections("mempool_rejections_reversed_total", &[("reason", reason)]);
    let added = || rejections("mempool_transactions_total", &[("action", "added")]);
    eventually("both", || (added() == 2.0).then_some(()));
    let (orphan, poor) = ("bad-txns-inputs-missingorspent", "min relay fee not met");
    assert_eq!((by(orphan), by(poor), rejections("mempool_rejections_total", &[])), (1.0, 1.0, 2.0));
    // The child has waited for two seconds before the node requested its parent.
    assert_eq!((reversed(orphan), reversed(poor)), (0.0, 1.0));

    // No tracepoint reports packages that are submitted here.
    mine(&other, 1);
    wait_for_same_tip(&[&tapped, &other]);
    let package = json!([parent, without_value]);
    println!("refused: {:?}", try_call(&tapped, "submitpackage", std::slice::from_ref(&package)));
    println!("refused: {}", call(&tapped, "testmempoolaccept", &[package]));
    call(&tapped, "testmempoolaccept", &[json!([without_value])]);
    eventually("a rejection", || (rejections("mempool_rejections_total", &[]) == 3.0).then_some(()));
    exporter.stop();
}
