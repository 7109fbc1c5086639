//! What is taken out of records, and what stays. That no output has an address is a test of the whole, in tests/redaction.rs.

use super::*;
use crate::{
    event::{Event, Kind, net::Connection},
    json::Hash,
    kernel_side::{types::misbehaving_record, write},
    p2p::{
        self, Message,
        tests::samples::{Sample, samples},
    },
    selection::Selection,
};

fn key(text: &str) -> Key {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Key::read(file.path()).unwrap()
}

fn redactor(text: &str) -> Redactor {
    Redactor::new(&Options { addresses: Some(key(text)), ..Options::default() }).unwrap()
}

fn header(tracepoint: Tracepoint, text: &str) -> event_header {
    event_header { tracepoint: tracepoint as u8, text_length: text.len() as u16, ..Default::default() }
}

fn message(command: &str, address: &str, state: payload_state, payload: &[u8]) -> Vec<u8> {
    let mut name = [0; 16];
    name[..command.len()].copy_from_slice(command.as_bytes());
    let header = header(Tracepoint::NetInboundMessage, address);
    let (size, copied) = (payload.len() as u64, payload.len() as u32);
    let fixed = message_record { header, command: name, size, copied, payload: state.0 as u8, ..Default::default() };
    write(fixed, &[address.as_bytes(), payload].concat())
}

fn whole(command: &str, payload: &[u8]) -> Vec<u8> {
    message(command, "5.9.7.8:8333", payload_state::PAYLOAD_WHOLE, payload)
}

fn redacted(redactor: &Redactor, record: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.push(record);
    Arc::into_inner(redactor.batch(&Arc::new(batch))).unwrap()
}

fn each(batch: &Batch, mut give: impl FnMut(&Kind<'_>)) {
    let mut given = 0;
    batch.each(|event| {
        give(&event.kind);
        given += 1;
    });
    assert_eq!(given, 1);
}

fn json(batch: &Batch) -> serde_json::Value {
    let mut value = None;
    batch.each(|event: Event<'_>| value = Some(serde_json::to_value(&event).unwrap()["event"].clone()));
    value.unwrap()
}

#[test]
fn an_address_has_one_pseudonym_for_a_key_in_each_form() {
    let (one, other) = (redactor("0123456789abcdef"), redactor("fedcba9876543210\n"));
    let of = |redactor: &Redactor, address: &str| redactor.0.addresses.as_ref().unwrap().peer(address);
    let (onion, i2p) = (
        "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion",
        "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p",
    );
    for (address, begins) in [
        ("8.8.8.8:8333".to_owned(), "2"),
        ("[2a01:4f8::1]:8333".into(), "[3fff:"),
        ("[2002:808:808::1]:8333".into(), "[2002:f"),
        ("[fc12::1]:8333".into(), "[fc00:"),
        (format!("{onion}:8333"), "redacted"),
        (format!("{i2p}:0"), "redacted"),
        ("192.168.1.2:8333".into(), "10."),
        ("[fe80::1%eth0]:8333".into(), "[fd00:"),
        ("node.example.com:8333".into(), ""),
        ("node.example.com".into(), ""),
    ] {
        let pseudonym = of(&one, &address);
        assert!(pseudonym.starts_with(begins), "{address}: {pseudonym}");
        assert_eq!(of(&one, &address), pseudonym);
        assert_ne!(of(&redactor("  0123456789abcdef\n"), &address), pseudonym, "white space begins that key");
        assert_eq!(of(&redactor("0123456789abcdef\r\n"), &address), pseudonym);
        assert_ne!(of(&other, &address), pseudonym);
        let network = |address: &str| crate::network::Network::from_address(address, false);
        assert_eq!(network(&pseudonym), network(&address), "{address}: {pseudonym}");
        let (pseudonym, port) = pseudonym.rsplit_once(':').unwrap_or((&pseudonym, "8333"));
        assert!(!address.starts_with(pseudonym) && [port, "0"].contains(&port));
    }
    assert_eq!(of(&one, "NODE.example.com:1"), of(&one, "node.example.com:1"));
    assert!(of(&one, "node.example.com").ends_with(".invalid"));
    assert_eq!(of(&one, "[::ffff:8.8.8.8]:1"), of(&one, "8.8.8.8:1"));
    for stays in ["127.0.0.1:8333", "[::1]:8333", "[::]:0", "0.0.0.0:0", ""] {
        assert_eq!(of(&one, stays), stays);
    }
    // As text and as bytes.
    let pseudonyms = one.0.addresses.as_ref().unwrap();
    let mut v1 = "::ffff:8.8.8.8".parse::<std::net::Ipv6Addr>().unwrap().octets();
    pseudonyms.v1(&mut v1);
    let mut v2 = [8; 4];
    pseudonyms.v2(1, &mut v2);
    let [a, b, c, d] = v2;
    assert_eq!((&v1[12..], format!("{a}.{b}.{c}.{d}:8333")), (&v2[..], of(&one, "8.8.8.8:8333")));
    let decoded = data_encoding::BASE32_NOPAD.decode(onion[..56].to_ascii_uppercase().as_bytes()).unwrap();
    let mut torv3: [u8; 32] = decoded[..32].try_into().unwrap();
    pseudonyms.v2(4, &mut torv3);
    assert_eq!(format!("{}:8333", p2p::torv3_name(&torv3)), of(&one, &format!("{onion}:8333")));
    let mut unknown = [7; 100];
    pseudonyms.v2(77, &mut unknown);
    assert!(unknown.chunks(10).all(|part| part != [7; 10]));
}

#[test]
fn netgroups_stay_apart_and_together_on_request() {
    let options = Options { addresses: Some(key("0123456789abcdef")), keeps_netgroups: true, ..Options::default() };
    let redactor = Redactor::new(&options).unwrap();
    let of = |address: &str| redactor.0.addresses.as_ref().unwrap().peer(address);
    let netgroup = |address: &str| {
        let pseudonym = of(address);
        match crate::network::ip_of(&pseudonym).unwrap() {
            std::net::IpAddr::V4(ip) => ip.octets()[..2].to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets()[..4].to_vec(),
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    for netgroup_number in 0..=u16::MAX {
        let [a, b] = netgroup_number.to_be_bytes();
        let address = format!("{a}.{b}.1.1:8333");
        let network = |address: &str| crate::network::Network::from_address(address, false);
        if network(&address) == crate::network::Network::Ipv4 {
            assert!(seen.insert(netgroup(&address)), "{address}");
            assert_eq!(network(&of(&address)), crate::network::Network::Ipv4, "{address}: {}", of(&address));
        }
    }
    let hosts: std::collections::BTreeSet<_> =
        (0..=u16::MAX).map(|host| of(&format!("8.8.{}.{}", host >> 8, host & 255))).collect();
    assert_eq!(hosts.len(), 1 << 16, "each host has its own");
    assert_eq!(netgroup("[2a01:4f8::1]:1"), netgroup("[2a01:4f8:9::2]:1"));
    assert_ne!(netgroup("[2a01:4f8::1]:1"), netgroup("[2a01:4f9::1]:1"));
    assert_ne!(of("[2a01:4f8::1]:1"), of("[2a01:4f8::2]:1"));
}

#[test]
fn payloads_keep_what_is_no_address_and_what_cannot_be_cleaned_is_left_out() {
    let redactor = redactor("0123456789abcdef");
    for Sample { command, payload, .. } in samples() {
        let before = p2p::decode(command, &payload);
        let may_hold = ["alert", "reject", "feature", "filteradd", "filterload"].contains(&command);
        let decodes = !matches!(before, Message::Undecodable { .. } | Message::Unknown { .. });
        each(&redacted(&redactor, &whole(command, &payload)), |kind| {
            let Kind::Msg(message) = kind else { panic!("{command}") };
            assert_eq!((message.meta.command, message.meta.size), (command, payload.len() as u64));
            assert!(message.meta.addr.starts_with("2") && !message.meta.addr.contains("5.9.7.8"));
            match (&message.msg, message.payload) {
                (Message::Unavailable { reason: "redacted", .. }, None) => assert!(may_hold || !decodes, "{command}"),
                (_, Some(kept)) => {
                    assert!(decodes && !may_hold, "{command}");
                    let has_addresses = ["version", "addr", "addrv2"].contains(&command) && payload.len() > 1;
                    assert_eq!(kept == payload, !has_addresses, "{command}");
                    assert_eq!(kept.len(), payload.len());
                }
                other => panic!("{command}: {other:?}"),
            }
        });
    }
    // Bytes after a message may be anything.
    let ping = [7; 12];
    assert_eq!(
        json(&redacted(&redactor, &whole("ping", &ping)))["Msg"]["msg"],
        serde_json::json!({"Unavailable": {"command": "ping", "reason": "redacted"}})
    );
    // Of a beginning, only what its message needs.
    let beginning = [9; 100];
    let record = message("block", "8.8.8.8:1", payload_state::PAYLOAD_BEGINNING, &beginning);
    let kept = redacted(&redactor, &record);
    assert_eq!(
        kept.records().next().unwrap().len(),
        size_of::<message_record>() + json(&kept)["Msg"]["meta"]["addr"].as_str().unwrap().len() + 80
    );
    let record = message("version", "8.8.8.8:1", payload_state::PAYLOAD_BEGINNING, &beginning);
    assert_eq!(json(&redacted(&redactor, &record))["Msg"]["msg"]["Unavailable"]["reason"], "redacted");
}

#[test]
fn reasons_are_masked_and_gaps_and_broken_records_stay_what_they_are() {
    let redactor = redactor("0123456789abcdef");
    let reason = "getdata from 203.0.113.9:8333 too large";
    let header = header(Tracepoint::NetMisbehavingConnection, reason);
    let batch =
        redacted(&redactor, &write(misbehaving_record { header, peer_id: 7, ..Default::default() }, reason.as_bytes()));
    each(&batch, |kind| {
        let Kind::Conn { event: Connection::Misbehaving { id: 7, xmessage, .. } } = kind else { panic!() };
        assert_eq!(xmessage, "getdata from xxx.x.xxx.x:8333 too large");
    });
    let losses = write(
        crate::kernel_side::types::losses_record {
            header: event_header {
                tracepoint: crate::kernel_side::types::tracepoint::LOSSES.0 as u8,
                ..Default::default()
            },
            ..crate::kernel_side::types::losses_record::default()
        },
        b"",
    );
    assert_eq!(redacted(&redactor, &losses).records().next().unwrap(), losses);
    // A record that ends too early says nothing.
    let broken = &whole("ping", &[7; 8])[..30];
    assert_eq!(redacted(&redactor, broken).records().next().unwrap(), &broken[..size_of::<event_header>()]);
}

#[test]
fn filters_are_asked_about_what_was_there_before() {
    let redactor = redactor("0123456789abcdef");
    let mut selection = Selection::of("net".parse().unwrap());
    selection.add("address", "5.9.0.0/16").unwrap();
    let batch = redacted(&redactor, &whole("ping", &[7; 8]));
    let filter = selection.compile();
    assert!(batch.asked(&filter).all(|asked| matches!(asked, crate::capture::Asked::Wanted(_))));
    assert_eq!(batch.tracepoints(&filter).count(), 1);
}

#[test]
fn hashes_are_left_of_transactions() {
    let redactor = Redactor::new(&Options { transactions: true, ..Options::default() }).unwrap();
    assert!(!redactor.redacts_addresses());
    let mut seen = 0;
    for Sample { command, payload, .. } in samples() {
        let batch = redacted(&redactor, &whole(command, &payload));
        let written = json(&batch);
        assert_eq!(written["Msg"]["meta"]["addr"], "5.9.7.8:8333");
        if let Message::Tx { tx } = p2p::decode(command, &payload) {
            let (txid, _) = tx.ids();
            let txid = serde_json::to_value(Hash(bitcoin::hashes::Hash::to_byte_array(txid))).unwrap();
            assert_eq!(written["Msg"]["msg"]["Tx"]["tx"]["txid"], txid);
            assert_eq!(written["Msg"]["msg"]["Tx"]["tx"].get("raw"), None);
            // Through a recording, a record passes the intake again.
            seen += 1;
        } else if !places::has_transactions(command) {
            assert_eq!(batch.records().next().unwrap(), whole(command, &payload));
        }
    }
    assert!(seen > 1);
}

#[test]
fn a_key_is_long_enough_and_not_too_long() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (bytes, words) in [(15, "it needs 16 bytes or more"), (5000, "it has more than 4096 bytes")] {
        std::fs::write(file.path(), "k".repeat(bytes)).unwrap();
        let told = Key::read(file.path()).unwrap_err();
        assert!(told.contains(words) && told.starts_with("cannot read the key /"), "{told}");
    }
    assert!(Key::read(std::path::Path::new("/none")).unwrap_err().contains("No such file"));
    assert_eq!(format!("{:?}", Key::random()), "Key");
    let of = |key: &Key| key.hash(&[b"a"]);
    assert_ne!(of(&Key::random()), of(&Key::random()));
}
