"""Compares what bitcointap reported of a run of a node with what the node says itself.

In: the lines of JSON of a tap, the lines of the node's debug.log, answers of its getpeerinfo. Out: a `Comparison`, with its counts and all
differences. Pure.

The rules, from Bitcoin Core's sources (net.cpp, net_processing.cpp, validation.cpp):

- Each message has one line in the log, beside its tracepoint, with its command, bytes and peer. Messages that the transport refuses (a
  wrong magic, checksum, size or command) have neither. One thread processes all messages of peers, so these are in order.
  Up to v24, a compact block that was reconstructed without a request is processed as an empty `blocktxn`, which has a line but was never
  sent.
- Each line of LINES belongs to one tracepoint. Blocks: "Index writing" comes for each block that ConnectBlock accepts. That includes blocks
  of verifychain, of a reorganisation, of reindexing and of the chainstate in the background, for which the tracepoint fires, too.
- getpeerinfo counts bytes when they come from or go to the socket, with the header; refused messages count as `*other*`.
- A tap reports its losses for each tracepoint: the log may have that many more lines, and no fewer.
- A node that is killed or crashes has no "Shutdown done". It may end between a line and its tracepoint: one message in each direction.
- The node refuses a message that cannot be decoded, too: before it processes the next message, the log has a line of REFUSED. Messages of the
  node can always be decoded, except those that a test sends by sendmsgtopeer, in the thread of its call.
"""

import collections
import json
import re

HEADER_BYTES = 24
# In the second version of the transport (BIP 324): the bytes that it adds to a message with a command of one byte, as
# these have; others have 13.
V2_BYTES = 20
SHORT_COMMANDS = set(
    "addr block blocktxn cmpctblock feefilter filteradd filterclear filterload getblocks getblocktxn getdata getheaders headers inv "
    "mempool merkleblock notfound ping pong sendcmpct tx getcfilters cfilter getcfheaders cfheaders getcfcheckpt cfcheckpt addrv2".split()
)
OTHER = "*other*"

MESSAGE = re.compile(r"\[net(?::\w+)?\] (received: |sending )(.*) \((\d+) bytes\) peer=(\d+)$")
REJECTED = re.compile(r"\[net(?::\w+)?\] (?:Header error: (?:Wrong checksum|Invalid message type) \(.*, (\d+) bytes\)"
                      r"|V2 transport error: invalid message type \((\d+) bytes contents\)).*, peer=(\d+)$")
VERSION = re.compile(r"\] Bitcoin Core version v(\d+)")
EMPTY_BLOCKTXN = 33
# Lines of the log beside tracepoints, and whether they come for all events. Holds for v24 to v31.
Line = collections.namedtuple("Line", "tracepoints pattern of_all", defaults=[True])
LINES = {
    "connections accepted": Line(["net:inbound_connection"], r"\] connection from \S+ accepted$"),
    "connections": Line(["net:inbound_connection", "net:outbound_connection"], r"\] Added connection (to .* )?peer=\d+$"),
    "connections closed": Line(["net:closed_connection"], r"\] Resetting socket for peer=\d+"),
    "connections evicted": Line(["net:evicted_inbound_connection"], r"\] selected \S+ connection for eviction, "),
    "offences": Line(["net:misbehaving_connection"], r"\] Misbehaving: peer=\d+"),
    "replacements": Line(["mempool:replaced"], r"\] replacing (mempool )?tx \w{64} "),
    "removals, but for blocks": Line(["mempool:removed"], r"\] Enqueuing TransactionRemovedFromMempool: txid=", False),
    "blocks": Line(["validation:block_connected"], r"\]     - Index writing: "),
}
PATTERNS = {name: re.compile(line.pattern) for name, line in LINES.items()}
REFUSED = re.compile(
    r"\[msghand\] .*(?:ProcessMessages\(.*\): (?:Exception|Unknown exception)"
    r"|(?:Misbehaving: peer=|disconnecting peer=)(\d+)|\] pong peer=(\d+): Short payload)"
)
# The thread of a call, by its name in newer releases and in older ones.
CALL = re.compile(r" \[http(?:worker)?\.\d+\] ")
UNSAFE = re.compile(r"[^\w .,;\-/:?@()]", re.ASCII)
DECODE = json.JSONDecoder().raw_decode


class Comparison:
    """What was compared, and what differs."""

    def __init__(self):
        self.counts = collections.Counter()
        self.differences = []

    def differ(self, words):
        self.differences.append(words)


class Told:
    """What a tap reported of a run."""

    def __init__(self, lines):
        self.messages = []  # (time, inbound, peer, command, size, whether it could be decoded)
        self.events = collections.Counter()  # by the names of LINES
        self.lost = collections.Counter()  # by tracepoint
        self.number = 0
        for line in lines:
            self.take(line)

    def take(self, line):
        head, _, event = line.partition('"event":')
        self.number += 1
        if event.startswith('{"Msg":{"meta":'):
            # The payload may be megabytes long.
            meta, end = DECODE(event, 15)
            kind = re.match(r',"msg":\{?"(\w+)"', event[end:end + 40])[1]
            time = json.loads(head.rstrip(",") + "}")
            time = time["timestamp"] + time["timestamp_subsec_micros"] / 1e6
            self.messages.append((time, meta["inbound"], meta["peer_id"], meta["command"], meta["size"], kind != "Undecodable"))
            return
        (group, event), = json.loads("{" + '"event":' + event)["event"].items()
        if group == "Lost":
            self.number -= 1
            self.lost[event["tracepoint"]] += event["count"]
        elif "event" in event:
            (name, fields), = event["event"].items()
            for name in self.names(group, name, fields):
                self.events[name] += 1

    @staticmethod
    def names(group, name, fields):
        match group, name:
            case "Conn", "Inbound":
                return ["connections accepted", "connections"]
            case "Conn", "Outbound":
                return ["connections"]
            case "Conn", "Closed":
                return ["connections closed"]
            case "Conn", "InboundEvicted":
                return ["connections evicted"]
            case "Conn", "Misbehaving":
                return ["offences"]
            case "Mempool", "Replaced":
                return ["replacements"]
            case "Mempool", "Removed":
                return [] if fields["reason"] == "block" else ["removals, but for blocks"]
            case "Validation", "BlockConnected":
                return ["blocks"]
        return []


class Said:
    """What the log of a node says."""

    def __init__(self, lines):
        self.messages = []  # (inbound, peer, command, size)
        self.refusals = []  # for each inbound message, whether something was said against it before the next one
        self.taken_up = None  # the peer of the last one
        self.last_inbound = None
        self.version = None  # the major one
        self.of_users = set()  # outbound messages that a call has sent
        self.rejected = collections.defaultdict(list)  # by peer, the bytes of which its transport refused, without a header
        self.lines = collections.Counter()  # by the names of LINES
        self.ended = False
        for line in lines:
            self.take(line.rstrip("\n"))

    def take(self, line):
        if found := MESSAGE.search(line):
            way, command, size, peer = found.groups()
            inbound = way == "received: "
            message = (inbound, int(peer), command, int(size))
            if inbound and self.is_made_up(message):
                self.last_inbound = None  # Once for each.
                return
            self.messages.append(message)
            if inbound:
                self.last_inbound = message
                self.refusals.append(False)
                self.taken_up = peer
            elif CALL.search(line):
                self.of_users.add(self.messages[-1])
            return
        if self.version is None and (found := VERSION.search(line)):
            self.version = int(found[1])
        found = REFUSED.search(line)
        if found and self.refusals and (found[1] or found[2] or self.taken_up) == self.taken_up:
            self.refusals[-1] = True
        if found := REJECTED.search(line):
            self.rejected[int(found[3])].append(int(found[1]) + HEADER_BYTES if found[1] else int(found[2]) + V2_BYTES)
        for name, pattern in PATTERNS.items():
            if pattern.search(line):
                self.lines[name] += 1
        self.ended = self.ended or line.endswith(("Shutdown done", "Shutdown: done"))

    def is_made_up(self, message):
        """Whether the node made an inbound message from the compact block before it."""
        of_block = self.last_inbound is not None and self.last_inbound[1:3] == (message[1], "cmpctblock")
        return self.version is not None and self.version <= 24 and of_block and message[2:] == ("blocktxn", EMPTY_BLOCKTXN)


def key(message):
    """A message as in the log, which leaves out unsafe characters of commands from peers."""
    _, inbound, peer, command, size, _ = message
    return (inbound, peer, UNSAFE.sub("", command) if inbound else command, size)


def compare(told, said, answers, tracepoints):
    """Compares a run: `told` by a tap, `said` in the log, `answers` of getpeerinfo, and the tracepoints of this release."""
    result = Comparison()
    compare_messages(told, said, result)
    for name, line in LINES.items():
        if tracepoints.issuperset(line.tracepoints):
            compare_counts(name, line, told, said, result)
    judge_undecodable(told, said, result)
    for answer in answers:
        compare_peers(told, said, answer, result)
    result.counts["events"] = told.number
    result.counts["lost"] = sum(told.lost.values())
    result.counts["blocks"] = told.events["blocks"]
    return result


def compare_messages(told, said, result):
    for inbound in (True, False):
        tracepoint = "net:inbound_message" if inbound else "net:outbound_message"
        told_in_order = [key(message) for message in told.messages if message[1] == inbound]
        said_in_order = [message for message in said.messages if message[0] == inbound]
        events, lines = collections.Counter(told_in_order), collections.Counter(said_in_order)
        missing, surplus = lines - events, events - lines
        cut_off = 0 if said.ended else 1
        # Tracepoints of inbound messages fire before their line, those of outbound ones after it.
        most_surplus, most_missing = (cut_off, 0) if inbound else (0, cut_off)
        lost = told.lost[tracepoint]
        if not lost <= missing.total() <= lost + most_missing or surplus.total() > most_surplus:
            words = f"the log has {missing.total()} more, of which {lost} were told as lost; the tap has {surplus.total()} more"
            result.differ(f"{tracepoint}: {words}: {list(missing.items())[:3]} {list(surplus.items())[:3]}")
        if inbound and events == lines and told_in_order != said_in_order:
            result.differ(f"{tracepoint}: another order than in the log")
        result.counts["messages"] += events.total()
        result.counts["bytes"] += sum(size * count for (*_, size), count in events.items())


def compare_counts(name, line, told, said, result):
    lost = sum(told.lost[tracepoint] for tracepoint in line.tracepoints)
    # Lost events may be ones without a line. All of these lines come before their tracepoints.
    least, most = lost if line.of_all else 0, lost if said.ended else lost + 1
    if not least <= said.lines[name] - told.events[name] <= most:
        result.differ(f"{name}: the log has {said.lines[name]}, the tap {told.events[name]}, lost {lost}")
    result.counts["lines"] += said.lines[name]


def judge_undecodable(told, said, result):
    inbound = [message for message in told.messages if message[1]]
    are_aligned = [key(message) for message in inbound] == [message for message in said.messages if message[0]]
    for number, message in enumerate(inbound):
        if message[5]:
            continue
        result.counts["undecodable"] += 1
        if not are_aligned:
            result.counts["not judged"] += 1
        elif not said.refusals[number]:
            result.differ(f"undecodable, but not refused by the node: {message}")
    for message in told.messages:
        if not message[1] and not message[5] and key(message) not in said.of_users:
            result.differ(f"undecodable, though the node sent it: {message}")


def compare_peers(told, said, answer, result):
    if answer.get("busy"):
        result.counts["busy"] += 1
        return
    if told.lost["net:inbound_message"] or told.lost["net:outbound_message"]:
        return
    before = collections.defaultdict(list)
    for time, inbound, peer, command, size, _ in told.messages:
        if time <= answer["time"]:
            before[peer, inbound, command].append(size)
    for peer in answer["peers"]:
        is_v2 = peer.get("transport_protocol_type", "v1") == "v2"
        for inbound, field in ((True, "bytesrecv_per_msg"), (False, "bytessent_per_msg")):
            told_apart = {command for command in peer[field] if command != OTHER}
            sizes = collections.defaultdict(list)
            for (number, way, command), these in before.items():
                if (number, way) == (peer["id"], inbound):
                    sizes[command if command in told_apart else OTHER] += these
            rejected = said.rejected[peer["id"]] if inbound else []
            for command in sizes.keys() | peer[field].keys():
                least, most = expected_bytes(sizes[command], command, is_v2, inbound)
                extra = sum(rejected) if command == OTHER else 0
                counted = peer[field].get(command, 0)
                # A peer may write short commands in full, which is 12 bytes more.
                if not least + extra <= counted <= most + extra or (counted - least - extra) % 12:
                    way = "received" if inbound else "sent"
                    result.differ(
                        f"getpeerinfo: peer {peer['id']} {way} {command}: {counted} bytes, by the tap {least + extra} to {most + extra} "
                        f"in {len(sizes[command])} messages"
                    )
        result.counts["peers"] += 1


def expected_bytes(sizes, command, is_v2, inbound):
    total, number = sum(sizes), len(sizes)
    if not is_v2:
        return (total + HEADER_BYTES * number,) * 2
    short, full = total + (V2_BYTES + 1) * number, total + (V2_BYTES + 13) * number
    if command not in SHORT_COMMANDS:
        return full, full
    return short, full if inbound else short
