//! A real node over NATS: what is read of it elsewhere, as JSON and as a recording, is what was tapped beside it.

use std::{collections::BTreeSet, fs};

use serde_json::json;

use super::{call, connect, executable, export, mine, new_address, start, wait_for_mempool, wait_for_same_tip};
use crate::{
    nats::{
        server::{Server, Subscriber, old_server},
        source::Reader,
    },
    tool::eventually,
};

#[test]
fn readers_over_nats_have_what_the_node_did() {
    let (Some(executable), Some(program)) = (executable(), old_server()) else { return };
    let server = Server::start(&program, "max_payload: 16MB\n");
    let subscriber = Subscriber::start(&server, "bitcointap.alice.>");
    let reader = Reader::start_at(&server.url(), "");
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let output = |name: &str, format: &str| {
        let events = "events = ['net', 'mempool', 'validation']";
        format!(
            "[outputs.{name}]\nnats.url = ['{}']\nnats.format = '{format}'\nbytes = 'hex'\n{events}\n",
            server.url()
        )
    };
    let text = format!("node-name = 'alice'\n{}{}", output("lines", "json"), output("blocks", "recording"));
    fs::write(&config, text.replace("recording'\nbytes = 'hex'", "recording'")).unwrap();
    let (mut node, other) = (start(&executable), start(&executable));
    let beside = directory.path().join("beside");
    let options = "--events net,mempool,validation --bytes hex --json";
    let exporter = export(&node, &format!("--config {} {options} {}", config.display(), beside.display()));

    connect(&node, &other);
    mine(&node, 101);
    wait_for_same_tip(&[&node, &other]);
    for _ in 0..5 {
        let txid = call(&node, "sendtoaddress", &[new_address(&other), json!(0.1)]);
        wait_for_mempool(&other, &txid);
    }
    mine(&other, 1);
    wait_for_same_tip(&[&node, &other]);
    node.stop().unwrap();

    let (lines, log) = reader.end();
    let delivered = exporter.last_scrape().sum("event_delay_seconds_count", &[]) as usize;
    let expected = eventually("all lines", || {
        let text = fs::read_to_string(&beside).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= delivered).then_some(lines)
    });
    assert!(expected.len() > 200, "{}", expected.len());
    assert!(lines == expected, "{} of {}: {log}", lines.len(), expected.len());
    let is_of_events = |subject: &str| !["recording", "heartbeat", "confirm"].iter().any(|it| subject.contains(it));
    let got = eventually("all messages", || {
        let messages = subscriber.so_far();
        let of_events = messages.iter().filter(|message| is_of_events(&message.subject));
        let text: String = of_events.map(|it| String::from_utf8_lossy(&it.payload).into_owned()).collect();
        let lines: BTreeSet<_> = text.lines().map(str::to_owned).collect();
        (text.lines().count() >= delivered).then_some(lines)
    });
    assert!(got == expected.into_iter().collect(), "{}", got.len());
    exporter.stop();
}
