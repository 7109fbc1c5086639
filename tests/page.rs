//! The live page in a browser, and its data. `make test` puts Chromium and playwright-core into target/tools, from
//! Debian's and npm's packages; without them the tests that need them say that they were skipped.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    exposition::get,
    node::{Simnode, Tally},
    tool::{Attached, Exporter, bitcointap, eventually, fetched, fetched_tools},
};

/// Runs the scripts in tests/page.
struct Browser {
    chromium: PathBuf,
    node: PathBuf,
    playwright: PathBuf,
}

impl Browser {
    fn find() -> Option<Self> {
        const REQUIRED: &str = "REQUIRE_CHROMIUM";
        let (chromium, node) = (path_of(fetched("chromium", REQUIRED)?), fetched("node", REQUIRED)?);
        let playwright = fetched_tools().join("page/node_modules/playwright-core");
        if playwright.exists() {
            return Some(Self { chromium, node, playwright });
        }
        assert!(std::env::var_os(REQUIRED).is_none(), "playwright-core is not here");
        println!("skipped: playwright-core is not here");
        None
    }

    /// Starts a script of tests/page that looks at the page of an exporter at `address`.
    fn start(&self, script: &str, address: &str) -> Script {
        self.start_with(script, address, None)
    }

    /// The same, with what the script must see.
    fn start_with(&self, script: &str, address: &str, expected: Option<&Value>) -> Script {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page").join(script);
        let mut command = Command::new(&self.node);
        command.arg(path).arg(format!("http://{address}/")).args(std::env::var_os("SCREENSHOTS"));
        command.args(expected.map(Value::to_string));
        command.env("CHROMIUM", &self.chromium).env("PLAYWRIGHT_CORE", &self.playwright);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("node starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Script { child, lines }
    }
}

/// The path of a program that may be named as a shell finds it.
fn path_of(program: PathBuf) -> PathBuf {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = std::env::split_paths(&directories).map(|directory| directory.join(&program));
    paths.find(|path| path.exists()).unwrap_or_else(|| program.clone())
}

/// A running script. If a claim is wrong or takes too long, it ends with a failure and says why on standard error.
struct Script {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Script {
    /// Waits until it says this.
    #[track_caller]
    fn says(&mut self, words: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it is text");
        assert_eq!(line.trim_end(), words);
    }

    /// Waits for its end, which must be a success.
    #[track_caller]
    fn end(&mut self) {
        self.lines.by_ref().lines().for_each(|line| println!("{}", line.expect("it is text")));
        assert!(self.child.wait().expect("it can be waited for").success());
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exporter_of(node: &Simnode) -> Exporter {
    Exporter::start(&format!("--pid {}", node.pid()))
}

fn live(exporter: &Exporter) -> Value {
    let text = eventually("the live state", || get(&exporter.address, "/api/live"));
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn the_page_shows_what_happens_and_can_be_sorted_and_searched() {
    let Some(browser) = Browser::find() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000");
    let exporter = Exporter::start(&format!("--pid {} --flight-recorder 32MiB", node.pid()));
    node.fire();
    browser.start("shows.mjs", &exporter.address).end();
    exporter.stop();
}

#[test]
fn what_peers_choose_stays_text_in_the_page() {
    let Some(browser) = Browser::find() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --rate 2000 --hostile");
    let exporter = exporter_of(&node);
    node.fire();
    browser.start("hostile.mjs", &exporter.address).end();
    exporter.stop();
}

#[test]
fn the_page_tells_what_is_gone_and_recovers() {
    let Some(browser) = Browser::find() else { return };
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000");
    let exporter = exporter_of(&node);
    let address = exporter.address.clone();
    node.fire();
    let mut page = browser.start("recovers.mjs", &address);
    page.says("attached");
    drop(node);
    page.says("ended");
    exporter.stop();
    page.says("lost");
    let mut node = Simnode::start("v31", "--scenario mix --rate 1000");
    let arguments = format!("export --web.listen-address {address} --pid {}", node.pid());
    let _exporter = Attached::spawn(bitcointap(&arguments));
    node.fire();
    page.says("attached");
    page.end();
}

#[test]
fn what_cannot_be_seen_says_why() {
    let Some(browser) = Browser::find() else { return };
    let looks = |exporter: &Exporter, expected: &Value| {
        browser.start_with("blind.mjs", &exporter.address, Some(expected)).end();
    };
    let absent = tempfile::tempdir().unwrap().path().join("pid");
    let arguments = format!("--pid-file {}", absent.display());
    let waiting = Exporter::start_by(bitcointap, &arguments, "waiting for a node");
    let tiles = json!({ "Peers": ["\u{2013}", "not attached"], "Messages in": ["\u{2013}", "not attached"] });
    looks(&waiting, &json!({ "state": "No node", "banner": "It goes on when the node runs.", "tiles": tiles }));
    waiting.stop();
    // In v25 connections have no tracepoints.
    let mut node = Simnode::start("v25", "--scenario mix --rate 500");
    let exporter = exporter_of(&node);
    node.fire();
    looks(
        &exporter,
        &json!({
            "state": "Attached to pid ",
            "tiles": { "Connections, 3 min": ["\u{2013}", "needs v29"], "Mempool, 1 min": [null, " rejected"] },
            "note": "peers that left stay for up to 30 minutes (closings: needs v29)",
            "texts": ["opened, closed, evicted, misbehaving: needs v29"],
        }),
    );
    exporter.stop();
    // `--events net` does not attach to the mempool and blocks.
    let net = Exporter::start(&format!("--pid {} --events net", node.pid()));
    let unselected = "not selected (--events)";
    let tiles = json!({ "Mempool, 1 min": ["\u{2013}", unselected], "Last block": ["\u{2013}", unselected] });
    looks(
        &net,
        &json!({ "state": "Attached to pid ", "tiles": tiles, "texts": ["connected: not selected (--events)", "bitcointap cannot see this."] }),
    );
    net.stop();
}

#[test]
fn a_node_of_before_an_end_and_a_replay_are_what_they_are() {
    let Some(browser) = Browser::find() else { return };
    let looks = |exporter: &Exporter, expected: &Value| {
        browser.start_with("blind.mjs", &exporter.address, Some(expected)).end();
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    // It has been running for a while before the attachment, and sends nothing yet.
    let mut node = Simnode::start("v31", "--scenario mix --rate 500");
    std::thread::sleep(Duration::from_secs(6));
    let mut recorder = Attached::spawn(bitcointap(&format!("record {} --pid {}", path.display(), node.pid())));
    let exporter = exporter_of(&node);
    let older = "older peers: with their first message";
    looks(&exporter, &json!({ "state": "Attached to pid ", "tiles": { "Peers": ["0", older] }, "note": older }));
    node.fire();
    std::thread::sleep(Duration::from_secs(2));
    drop(node);
    assert!(recorder.wait().success());
    let banner = "bitcointap does not follow it";
    let gone = json!({ "Peers": ["\u{2013}", "not attached"], "Mempool, 1 min": ["\u{2013}", "not attached"] });
    looks(&exporter, &json!({ "state": "Node ended", "banner": banner, "tiles": gone }));
    exporter.stop();

    let replayed = |speed: &str| {
        Exporter::start_by(bitcointap, &format!("--replay {} --speed {speed}", path.display()), "replaying")
    };
    let slow = replayed("0.1");
    looks(&slow, &json!({ "state": "Replay of pid " }));
    slow.stop();
    let fast = replayed("max");
    looks(&fast, &json!({ "state": "Replay ended", "banner": "The recording has ended." }));
    fast.stop();
}

/// What the live state has counted of the fired events.
fn assert_counted(live: &Value, tally: &Tally) {
    let fired = tally.tracepoints();
    assert_eq!(live["events"]["fired"], fired.values().sum::<u64>());
    for (total, tracepoint) in [
        ("connections_closed", "net:closed_connection"),
        ("connections_evicted", "net:evicted_inbound_connection"),
        ("mempool_added", "mempool:added"),
        ("mempool_removed", "mempool:removed"),
        ("mempool_replaced", "mempool:replaced"),
        ("mempool_rejected", "mempool:rejected"),
        ("blocks_connected", "validation:block_connected"),
    ] {
        assert_eq!(live["totals"][total], fired[tracepoint], "{total}");
    }
    let messages = |direction: &str| -> u64 {
        let commands = live["commands"].as_array().expect("a list").iter();
        commands.map(|command| command[direction]["messages"].as_u64().expect("a number")).sum()
    };
    for direction in ["inbound", "outbound"] {
        assert_eq!(messages(direction), fired[&format!("net:{direction}_message")], "{direction}");
    }
}

#[test]
fn the_live_state_of_a_node_and_of_its_recording_is_what_was_fired() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut node = Simnode::start("v31", "--scenario mix --rate 10000 --count 10000 --linger");
    let mut recorder = Attached::spawn(bitcointap(&format!("record {} --pid {}", path.display(), node.pid())));
    let exporter = exporter_of(&node);
    node.fire();
    let mut tally = node.read_tally();
    // Neither asks for these.
    for (tracepoint, count) in tally.0["tracepoints"].as_object_mut().unwrap() {
        if ["utxocache:add", "utxocache:spent", "utxocache:uncache"].contains(&&**tracepoint) {
            *count = 0.into();
        }
    }
    exporter.settled_events(&tally);
    let of_node = live(&exporter);
    assert_counted(&of_node, &tally);
    assert_eq!(of_node["node"]["pid"], node.pid());
    exporter.stop();
    drop(node);
    recorder.wait();

    let exporter = Exporter::start_by(bitcointap, &format!("--replay {} --speed max", path.display()), "replaying");
    let of_recording = eventually("its end", || Some(live(&exporter)).filter(|live| live["over"] == true));
    assert_counted(&of_recording, &tally);
    assert!(of_recording["peers"].as_array().is_some_and(|peers| peers.len() > 5), "who was there at its end");
    assert_eq!(of_recording["commands"].as_array().map(Vec::len), of_node["commands"].as_array().map(Vec::len));
    exporter.stop();
}

#[test]
fn addresses_can_be_hidden_and_the_page_turned_off() {
    let mut node = Simnode::start("v31", "--scenario mix --rate 10000 --count 10000 --linger");
    let hiding = Exporter::start(&format!("--pid {} --web.hide-addresses", node.pid()));
    let without = Exporter::start(&format!("--pid {} --web.disable-live-page", node.pid()));
    let telling = exporter_of(&node);
    node.fire();
    let _ = node.read_tally();
    let addresses = |exporter: &Exporter| -> Vec<Value> {
        let live = eventually("all of the peers", || {
            Some(live(exporter)).filter(|live| live["totals"]["blocks_connected"].as_u64() > Some(0))
        });
        let rows = ["peers", "connections"].map(|list| live[list].as_array().expect("a list").clone()).concat();
        let of_peers = rows.iter().filter(|row| row["what"] != "node_attached");
        of_peers.map(|row| row["address"].clone()).collect()
    };
    let (told, hidden) = (addresses(&telling), addresses(&hiding));
    assert!(told.len() > 20 && told.iter().filter(|address| address.is_string()).count() > 20, "{told:?}");
    assert!(hidden.len() > 20 && hidden.iter().all(Value::is_null), "{hidden:?}");
    assert_eq!(get(&hiding.address, "/events"), None);
    assert!(get(&hiding.address, "/").unwrap().contains("live/main.js"));

    assert_eq!(get(&without.address, "/api/live"), None);
    assert!(!get(&without.address, "/").unwrap().contains("live/main.js"));
}
