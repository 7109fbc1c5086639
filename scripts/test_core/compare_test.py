"""That each kind of difference is one, and nothing else. `make test-core` runs this first."""

import json
import unittest

from compare import LINES, Said, Told, compare

TIME = 1_800_000_000
ALL = {tracepoint for line in LINES.values() for tracepoint in line.tracepoints}


def message(second, inbound, peer, command, size, kind="Ping"):
    meta = {"peer_id": peer, "addr": "}\",", "conn_type": 1, "command": command, "inbound": inbound, "size": size}
    event = {"timestamp": TIME + second, "timestamp_subsec_micros": 5, "event": {"Msg": {"meta": meta, "msg": {kind: {}}}}}
    return json.dumps(event, separators=(",", ":"))


def event(kind):
    return json.dumps({"timestamp": TIME, "timestamp_subsec_micros": 5, "event": kind}, separators=(",", ":"))


def line(words, thread="msghand"):
    return f"2027-01-15T08:00:00.000000Z [{thread}] [a.cpp:1] [void A::b(const C&)] {words}\n"


BLOCK = {"Validation": {"event": {"BlockConnected": {"height": 1}}}}
TOLD = [
    message(1, True, 0, "version", 100, "Version"),
    message(1, False, 0, "verack", 0, "Verack"),
    message(2, True, 0, "ping", 8),
    message(3, True, 0, "ping", 9, "Undecodable"),
    message(4, True, 0, "s\u00e4y\n", 7, "Unknown"),
    event(BLOCK),
    event({"Mempool": {"event": {"Removed": {"reason": "block"}}}}),
    event({"Mempool": {"event": {"Removed": {"reason": "expiry"}}}}),
    event({"Conn": {"event": {"Closed": {}}}}),
]
SAID = [
    line("[net] received: version (100 bytes) peer=0"),
    line("[net] sending verack (0 bytes) peer=0"),
    line("[net] received: ping (8 bytes) peer=0"),
    line("[net] received: ping (9 bytes) peer=0"),
    line("[net] ProcessMessages(ping, 9 bytes): Exception 'end of data' (std::ios_base::failure) caught"),
    line("[net] received: sy (7 bytes) peer=0"),
    line("[net] Header error: Wrong checksum (tx, 6 bytes), expected 00 was 01, peer=0", "net"),
    line("[bench]     - Index writing: 0.01ms"),
    line("[validation] Enqueuing TransactionRemovedFromMempool: txid=00"),
    line("[net] Resetting socket for peer=0", "net"),
    line("Shutdown done", "shutoff"),
]
PEER = {
    "id": 0,
    "transport_protocol_type": "v1",
    "bytesrecv_per_msg": {"version": 124, "ping": 8 + 9 + 2 * 24, "*other*": 7 + 24 + 6 + 24},
    "bytessent_per_msg": {"verack": 24},
}


def differences(told=TOLD, said=SAID, **peer):
    answer = {"pid": 1, "time": TIME + 10, "peers": [PEER | peer]}
    result = compare(Told(told), Said(said), [answer], ALL)
    return [words.split(": ")[0] for words in result.differences]


def without(lines, *part):
    rest = [line for line in lines if not any(part in line for part in part)]
    assert len(rest) < len(lines)
    return rest


class Compared(unittest.TestCase):
    def test_what_agrees(self):
        result = compare(Told(TOLD), Said(SAID), [{"time": TIME + 10, "peers": [PEER]}], ALL)
        self.assertEqual(result.differences, [])
        expected = {"events": 9, "messages": 5, "bytes": 124, "lines": 3, "blocks": 1, "undecodable": 1, "peers": 1, "lost": 0}
        self.assertEqual(dict(result.counts), expected)

    def test_what_only_one_of_both_has(self):
        for number, gone in enumerate(TOLD):
            if '"block"' not in gone:
                self.assertNotEqual(differences(told=TOLD[:number] + TOLD[number + 1:]), [], gone)
            if "Removed" not in gone or "expiry" in gone:
                self.assertNotEqual(differences(told=TOLD + [gone]), [], gone)
        for number, gone in enumerate(SAID[:-1]):
            self.assertNotEqual(differences(said=SAID[:number] + SAID[number + 1:]), [], gone)

    def test_what_peers_send_is_in_order(self):
        swapped = [TOLD[2], *TOLD[1:2], TOLD[0], *TOLD[3:]]
        self.assertEqual(differences(told=swapped), ["net:inbound_message"])

    def test_what_is_lost_is_missing_and_no_more(self):
        def lost(tracepoint, count):
            return event({"Lost": {"tracepoint": tracepoint, "reason": "ring_full", "count": count}})

        fewer = without(TOLD, '"verack"')
        self.assertEqual(differences(told=fewer + [lost("net:outbound_message", 1)]), [])
        self.assertNotEqual(differences(told=fewer + [lost("net:outbound_message", 2)]), [])
        self.assertNotEqual(differences(told=fewer + [lost("net:inbound_message", 1)]), [])
        fewer = without(TOLD, '"BlockConnected"')
        self.assertEqual(differences(told=fewer + [lost("validation:block_connected", 1)]), [])
        self.assertNotEqual(differences(told=fewer + [lost("validation:block_connected", 2)]), [])
        self.assertEqual(differences(told=TOLD + [lost("mempool:removed", 1)]), [], "one in a block")

    def test_what_a_release_cannot_tell_is_not_compared(self):
        older = ALL - {"net:closed_connection"}
        result = compare(Told(without(TOLD, "Closed")), Said(SAID), [], older)
        self.assertEqual((result.differences, result.counts["lines"]), ([], 2))

    def test_a_blocktxn_that_older_releases_make_up(self):
        told = [message(1, True, 0, "cmpctblock", 90, "CompactBlock")]
        blocktxn = line("[net] received: blocktxn (33 bytes) peer=0")

        def differences(version, *after):
            first = [line(f"Bitcoin Core version v{version}.99.0-0123 (release build)", "init")]
            said = [*first, line("[net] received: cmpctblock (90 bytes) peer=0"), *after, SAID[-1]]
            return len(compare(Told(told), Said(said), [], ALL).differences)

        self.assertEqual(differences(24, blocktxn), 0)
        self.assertEqual(differences(24), 0)
        self.assertEqual(differences(24, blocktxn, blocktxn), 1)
        self.assertEqual(differences(25, blocktxn), 1)
        self.assertEqual(differences(24, line("[net] received: blocktxn (34 bytes) peer=0")), 1)
        self.assertEqual(differences(24, line("[net] received: blocktxn (33 bytes) peer=1")), 1)

    def test_a_node_that_is_killed_stops_at_any_place(self):
        killed = SAID[:-1]
        self.assertEqual(differences(said=without(killed, " sy "), bytesrecv_per_msg=PEER["bytesrecv_per_msg"]), [])
        self.assertEqual(differences(said=killed + [line("[net] sending tx (9 bytes) peer=0")]), [])
        self.assertNotEqual(differences(said=killed + 2 * [line("[net] sending tx (9 bytes) peer=0")]), [])
        self.assertNotEqual(differences(said=killed + [line("[net] received: tx (9 bytes) peer=0")]), [])

    def test_who_refuses_what_cannot_be_decoded(self):
        undecodable = "undecodable, but not refused by the node"

        def refused(words, thread="msghand"):
            return [line(words, thread) if "ProcessMessages" in said else said for said in SAID]

        self.assertEqual(differences(said=refused("[net] Nothing")), [undecodable])
        self.assertEqual(differences(said=refused("[net] pong peer=0: Short payload, 0 expected")), [])
        self.assertEqual(differences(said=refused("[net] ping too short, disconnecting peer=0")), [])
        self.assertEqual(differences(said=refused("[net] timeout, disconnecting peer=1")), [undecodable])
        self.assertEqual(differences(said=refused("[net] socket error, disconnecting peer=0", "net")), [undecodable])
        earlier = [*SAID[:3], SAID[4], SAID[3], *SAID[5:]]
        self.assertEqual(differences(said=earlier), [undecodable], "refused was the one before it")
        unlike = without(TOLD, '"verack"', '"Version"')
        self.assertNotIn(undecodable, differences(told=unlike), "not judged where messages are missing")
        sent = [message(1, False, 0, "verack", 0, "Undecodable") if '"verack"' in told else told for told in TOLD]
        self.assertEqual(differences(told=sent), ["undecodable, though the node sent it"])
        by_call = [line("[net] sending verack (0 bytes) peer=0", "http.01") if "verack" in said else said for said in SAID]
        self.assertEqual(differences(told=sent, said=by_call), [])

    def test_what_getpeerinfo_counts(self):
        for received in ({"version": 124, "ping": 65}, {"version": 124, "ping": 64, "*other*": 61}, {"ping": 65, "*other*": 61}):
            self.assertIn("getpeerinfo", differences(bytesrecv_per_msg=received), received)
        self.assertIn("getpeerinfo", differences(bytessent_per_msg={"verack": 25}))
        self.assertIn("getpeerinfo", differences(bytessent_per_msg={"verack": 24, "tx": 1}))
        late = TOLD + [message(11, False, 0, "ping", 8)]
        self.assertEqual(differences(told=late, said=SAID + [line("[net] sending ping (8 bytes) peer=0")]), [])

    def test_the_bytes_of_the_second_transport(self):
        def second(received, sent):
            return differences(transport_protocol_type="v2", bytesrecv_per_msg=received, bytessent_per_msg=sent)

        other = 7 + 33 + 6 + 24
        self.assertEqual(second({"version": 133, "ping": 17 + 2 * 21, "*other*": other}, {"verack": 33}), [])
        self.assertEqual(second({"version": 133, "ping": 17 + 21 + 33, "*other*": other}, {"verack": 33}), [])
        self.assertEqual(second({"version": 133, "ping": 17 + 21 + 32, "*other*": other}, {"verack": 33}), ["getpeerinfo"])
        self.assertEqual(second({"version": 133, "ping": 17 + 2 * 21, "*other*": other}, {"verack": 21}), ["getpeerinfo"])


if __name__ == "__main__":
    unittest.main()
